/** What the cells of a pool's grid show. */
import { t } from "./i18n.mjs";
import { showImage } from "./images.mjs";

/** A cell of at most that many device pixels gets the small thumbnail. */
const SMALL = 128;

/**
 * @param {import("./pool-view.mjs").PoolView} view
 * @returns {import("./grid-cell.mjs").Content}
 */
export function cellsOf(view) {
  const slot = (/** @type {string} */ id) => /** @type {import("./pool.mjs").Slot} */ (view.slots.get(id));
  const url = (/** @type {string} */ id, /** @type {"image" | "thumbnail"} */ what, /** @type {number} */ size) =>
    view.pool.api.slotUrl(view.pool.id, slot(id), what, what === "thumbnail" ? size : undefined);
  return {
    name: t("pool.grid", { name: view.pool.id }),
    labelName: t("pool.labelName"),
    load: (img, address, signal) => showImage(img, view.pool.api.host, address, signal),
    label: (id) => slot(id)?.label ?? "",
    view: (id, index, pixels) => {
      const { label, mask } = slot(id);
      const active = id === view.pool.state.active;
      const parts = [label || t("pool.image", { index }), active && t("pool.active"), mask && t("pool.masked")];
      return {
        src: url(id, "thumbnail", pixels > SMALL ? 256 : 128),
        label,
        masked: Boolean(mask),
        active,
        description: parts.filter(Boolean).join(", "),
        labelHint: t("pool.addLabel"),
        maskHint: t("pool.hasMask"),
      };
    },
    zoom: (id) => {
      if (!slot(id)) return null;
      const index = view.pool.state.slots.indexOf(slot(id));
      const caption = [String(index), slot(id).label].filter(Boolean).join(" · ");
      return { small: url(id, "thumbnail", 256), large: url(id, "image", 0), caption };
    },
  };
}
