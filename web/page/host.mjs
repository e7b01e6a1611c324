/** How the broker's page reaches its server: paths are relative to the page, so any sub-path works. */

const TOKEN = "gatebus.token";

/** The page's own place without its hash. */
const base = new URL(".", document.baseURI);

/** @type {import("../comfyui/lib/api.mjs").Host} */
export const host = {
  url: (path) => new URL(path.replace(/^\//, ""), base).href,
  token: () => localStorage.getItem(TOKEN) ?? "",
  fetch: (path, options = {}) => {
    const token = host.token?.();
    const headers = new Headers(options.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return fetch(host.url(path), { ...options, headers });
  },
};

/** Remembers the token in this browser; "" forgets it. @param {string} token */
export function setToken(token) {
  if (token) localStorage.setItem(TOKEN, token);
  else localStorage.removeItem(TOKEN);
}
