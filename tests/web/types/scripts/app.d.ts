// What comfy.mjs takes from ComfyUI's page. It is typed as `any`: the page's own types are not published
// for current versions, and what it really does is tested in a browser.
export const app: any;
