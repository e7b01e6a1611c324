/** Images of the API on a page, also where the API wants a token, which an `<img>` can't send. */

/** @typedef {import("./api.mjs").Host} Host */

/**
 * The bytes behind a URL of the API; throws an Error with the server's words.
 * @param {Host} host
 * @param {string} url as `host.url` gives it
 * @param {AbortSignal} [signal]
 * @returns {Promise<Blob>}
 */
export async function loadBlob(host, url, signal) {
  const token = host.token?.();
  const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
  const response = await fetch(url, { headers, signal });
  if (response.ok) return await response.blob();
  const answer = await response.json().catch(() => null);
  throw new Error(answer?.error?.message ?? `The server answered ${response.status}`);
}

/**
 * Shows the image of that URL in the element: by its address where that is enough, so that the
 * browser loads and keeps it as it likes. Loading lazily needs `loading="lazy"` set before.
 * @param {HTMLImageElement} img
 * @param {Host} host
 * @param {string} url
 * @param {AbortSignal} [signal] ends the loading, and frees the image
 */
export function showImage(img, host, url, signal) {
  if (!host.token?.()) {
    img.src = url;
    return;
  }
  void loadBlob(host, url, signal).then(
    (blob) => {
      if (signal?.aborted) return;
      const address = URL.createObjectURL(blob);
      const free = () => URL.revokeObjectURL(address);
      img.addEventListener("load", free, { once: true });
      img.addEventListener("error", free, { once: true });
      img.src = address;
    },
    () => {
      if (!signal?.aborted) img.dispatchEvent(new Event("error"));
    },
  );
}
