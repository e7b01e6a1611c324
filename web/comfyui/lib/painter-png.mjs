/** Masks to and from PNG files, byte for byte: no colour management, no alpha. */

/** @typedef {import("./painter-mask.mjs").Mask} Mask */

/**
 * The mask as an opaque grey PNG, white = painted.
 * @param {Mask} mask
 * @returns {Promise<Blob>}
 */
export async function toPng({ width, height, data }) {
  const { canvas, context } = blank(width, height);
  const image = context.createImageData(width, height);
  for (let at = 0; at < data.length; at++) {
    image.data[4 * at] = image.data[4 * at + 1] = image.data[4 * at + 2] = data[at];
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser can't make a PNG of this size"))), "image/png");
  });
}

/**
 * The bytes of a grey PNG of that size.
 * @param {Blob} png
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Uint8Array>}
 */
export async function readMask(png, width, height) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  if (bitmap.width !== width || bitmap.height !== height) {
    throw new Error(`The mask is ${bitmap.width} x ${bitmap.height}; the image is ${width} x ${height}`);
  }
  const { context } = blank(width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let at = 0; at < grey.length; at++) grey[at] = data[4 * at];
  return grey;
}

/** @param {number} width @param {number} height */
function blank(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  // Read by the CPU: from a canvas of the GPU that is slow, and not exact everywhere.
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  return { canvas, context };
}
