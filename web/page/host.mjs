/** How the broker's page reaches its server: paths are relative to the page, so any sub-path works. */

import { ofBrowser } from "./storage.mjs";

const TOKEN = "gatebus.token";

/** The page's own place without its hash. */
const base = new URL(".", document.baseURI);

/** Event `unauthorized` when the server wants a token, or another one. */
export const access = new EventTarget();

/** @type {import("../comfyui/lib/api.mjs").Host} */
export const host = {
  url: (path) => new URL(path.replace(/^\//, ""), base).href,
  token: () => ofBrowser.getItem(TOKEN) ?? "",
  fetch: async (path, options = {}) => {
    const token = host.token?.();
    const response = await fetchAs(token ?? "", path, options);
    // One that was sent before somebody gave the token says nothing about that.
    if (response.status === 401 && token === host.token?.()) access.dispatchEvent(new Event("unauthorized"));
    return response;
  },
};

/**
 * Asks the server with that token, whichever is remembered.
 * @param {string} token
 * @param {string} path
 * @param {RequestInit} [options]
 */
export function fetchAs(token, path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  return fetch(host.url(path), { ...options, headers });
}

/** Remembers the token in this browser; "" forgets it. @param {string} token */
export function setToken(token) {
  if (token) ofBrowser.setItem(TOKEN, token);
  else ofBrowser.removeItem(TOKEN);
}
