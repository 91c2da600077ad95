// What the colours mean: a bar with its ends, or the categories, which can be clicked.

import { figure, h } from "../core/dom.js";
import { categoryColour, gradient } from "./colours.js";

const MOST = 24;

/** The legend of a column; `onpick(index)` is called for a clicked category. */
export function legend(column, range, palette, onpick) {
  if (!column) return h("div", { class: "legend", hidden: true });
  const title = h("summary", { class: "legend-title", text: withUnit(column) });
  if (column.kind === "category") {
    const names = column.categories || [];
    const items = names.slice(0, MOST).map((name, index) =>
      h(
        "button",
        { type: "button", class: "swatch", title: `Select ${column.label} ${name}`, onclick: () => onpick(index) },
        h("span", { class: "dot", style: `background:${categoryColour(index)}` }),
        h("span", { text: String(name) }),
      ),
    );
    if (names.length > MOST) items.push(h("span", { class: "faint", text: `and ${names.length - MOST} more` }));
    // Many categories would cover the points they explain.
    return h("details", { class: "legend", open: names.length <= 12 }, title, h("div", { class: "swatches" }, ...items));
  }
  return h(
    "details",
    { class: "legend", open: true },
    title,
    h("div", { class: "bar", style: `background:${gradient(palette)}` }),
    h("div", { class: "row ends" }, h("span", { text: figure(range[0]) }), h("span", { text: figure(range[1]) })),
  );
}

/** "Defocus (µm)". */
export const withUnit = (column) => column.label + (column.unit ? ` (${column.unit})` : "");
