/**
 * One open event stream for all hidden tabs of a browser, and one for each that is seen.
 *
 * A browser opens six connections to a server at most, for all tabs together: a stream in each
 * of six tabs would leave none to load anything with. Free of ComfyUI.
 */

/** @typedef {import("./feed.mjs").Feed} Feed */

/** Milliseconds within which one of the hidden tabs takes over from one that went away. */
const TAKE_OVER = 1000;

/** Milliseconds between two looks at the clock, and what it may have gone on by meanwhile. */
const LOOK = 5000;
const AWAKE = 20_000;

/**
 * Starts the feed here, and stops it while this tab is hidden and another one follows.
 * @param {Feed} feed
 * @param {string} name the same for all pages of a server
 */
export function startShared(feed, name) {
  const channel = new BroadcastChannel(name);
  const follow = () => {
    feed.start();
    channel.postMessage("follows");
  };
  channel.addEventListener("message", ({ data }) => {
    if (data === "follows" && document.hidden) feed.stop();
    // Each hidden tab hears it; the first to follow keeps the others from it.
    if (data === "left") setTimeout(() => feed.running || follow(), Math.random() * TAKE_OVER);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) follow();
  });
  window.addEventListener("pagehide", () => {
    if (feed.running) channel.postMessage("left");
  });
  // After a sleep the stream looks open, and is dead.
  let seen = Date.now();
  setInterval(() => {
    const slept = Date.now() - seen > AWAKE;
    seen = Date.now();
    if (slept && !document.hidden) feed.refresh();
  }, LOOK);
  // Back out of the browser's cache of pages, where every connection was cut.
  window.addEventListener("pageshow", (event) => event.persisted && feed.refresh());
  follow();
}
