// The training tab: curves and slices of a fit, asked for again while it runs.

import { getJson } from "../core/api.js";
import { h, notice } from "../core/dom.js";
import { linePlot } from "../plots/lines.js";

const EVERY = 4000; // ms between questions while the run is training

/** Build the tab. */
export function trainingPanel(store, run) {
  const head = h("div", { class: "progress-line" });
  const curves = h("div", { class: "curves" });
  const pictures = h("div", { class: "pictures" });
  let timer;
  let shown = "";

  const draw = (found) => {
    const running = found.state === "training";
    const parts = [h("span", { class: `pill ${running ? "live" : ""}`, text: running ? "training" : found.state })];
    if (found.epochs) {
      parts.push(h("span", { text: `epoch ${found.epoch} of ${found.epochs}` }), h("progress", { max: found.epochs, value: found.epoch, "aria-label": "Progress" }));
    } else if (found.epoch) parts.push(h("span", { text: `epoch ${found.epoch}` }));
    head.replaceChildren(...parts);
    const now = JSON.stringify([found.epoch, found.curves, found.pictures]);
    if (now === shown) return;
    shown = now;
    const plots = pairs(found.curves);
    curves.replaceChildren(...plots.map(([title, series]) => linePlot(series, { title, xLabel: "epoch" })));
    if (!plots.length) curves.append(running ? notice("empty", "No curves yet", "The first numbers come after the first steps of the fit.") : notice("empty", "No curves", "This fit wrote none."));
    pictures.replaceChildren(...found.pictures.map((p) =>
      h("figure", {}, h("img", { src: `${p.url}${p.url.includes("?") ? "&" : "?"}epoch=${found.epoch ?? 0}`, alt: p.name, loading: "lazy" }), h("figcaption", { text: p.name.replace(/\.png$/, "") }))));
  };
  const ask = async () => {
    clearTimeout(timer);
    if (store.get("tab") !== "training") return;
    let again = run.state === "training";
    try {
      const found = await getJson("api/training", { quiet: true });
      draw(found);
      again = found.state === "training";
      if (run.state === "training" && found.state !== "training") {
        head.append(h("span", { class: "faint", text: "The fit has ended: reload the page to see its latents." }));
      }
    } catch (error) {
      head.replaceChildren(notice("error", "No curves", error.message));
    }
    if (again) timer = setTimeout(ask, EVERY);
  };
  store.on("tab", ask);
  if (!shown) curves.append(notice("loading", "Reading the curves…"));
  ask();
  return h("div", { class: "panel" }, head, curves, pictures);
}

// A curve of every log interval and its means over epochs ("NAME (epoch)") share a plot.
function pairs(curves) {
  const plots = new Map();
  for (const [name, points] of Object.entries(curves)) {
    const title = name.replace(/ \(epoch\)$/, "");
    if (!plots.has(title)) plots.set(title, []);
    plots.get(title).push({ name: title === name ? "steps" : "epoch mean", points });
  }
  return [...plots];
}
