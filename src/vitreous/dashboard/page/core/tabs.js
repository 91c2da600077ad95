// The workspace's tabs; the window on volumes stays above those that speak of volumes.

import { h } from "./dom.js";

const WITH_VIEWPORT = new Set(["volume", "trajectories", "landscape"]);

/** Build the workspace from {key: [title, panel]}. */
export function tabs(store, viewport, entries) {
  const keys = Object.keys(entries);
  const heads = keys.map((key) =>
    h("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": `panel-${key}`, text: entries[key][0], onclick: () => store.set({ tab: key }) }));
  const bodies = keys.map((key) =>
    h("div", { role: "tabpanel", id: `panel-${key}`, "aria-labelledby": `tab-${key}` }, entries[key][1]));
  const bar = h("div", { class: "tabs", role: "tablist", "aria-label": "Workspace" }, ...heads);
  const paint = () => {
    keys.forEach((key, k) => {
      const on = store.get("tab") === key;
      heads[k].setAttribute("aria-selected", on);
      heads[k].tabIndex = on ? 0 : -1;
      bodies[k].hidden = !on;
    });
    viewport.hidden = !WITH_VIEWPORT.has(store.get("tab"));
  };
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (keys.indexOf(store.get("tab")) + step + keys.length) % keys.length;
    store.set({ tab: keys[next] });
    heads[next].focus();
  });
  store.on("tab", paint);
  paint();
  return h("section", { class: "workspace", "aria-label": "Workspace" }, bar, viewport, h("div", { class: "bodies" }, ...bodies));
}
