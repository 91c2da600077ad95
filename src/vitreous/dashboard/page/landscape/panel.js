// The landscape tab: the analysed volumes by their own principal components, and their states.

import { getJson } from "../core/api.js";
import { copyButton } from "../core/commands.js";
import { count, figure, h, notice, segmented, svg } from "../core/dom.js";
import { categoryColour } from "../latent/colours.js";

const SIZE = { width: 420, height: 300, edge: 24 };

/** Build the tab; it asks the server when it is first shown. */
export function landscapePanel(store, viewport) {
  const area = h("div", { class: "panel" });
  let asked = false;
  const load = async () => {
    if (store.get("tab") !== "landscape" || asked) return;
    asked = true;
    area.replaceChildren(notice("loading", "Reading the landscape…"));
    try {
      const found = await getJson("api/landscape");
      area.replaceChildren(...(found.available ? view(found, viewport) : missing(found)));
    } catch (error) {
      asked = false;
      area.replaceChildren(notice("error", "No landscape", error.message));
    }
  };
  store.on("tab", load);
  load();
  return area;
}

function missing(found) {
  const command = found.command || "";
  return [
    notice("empty", "This run has no landscape yet", "It is made by decoding many volumes and sorting them by shape:"),
    h("div", { class: "command row" }, h("code", { class: "grow", text: command }), copyButton(() => command)),
  ];
}

function view(found, viewport) {
  const plot = h("div", { class: "landscape" });
  const dims = found.points[0]?.length || 2;
  let axes = [0, Math.min(1, dims - 1)];
  let chosen = -1;
  const pick = (k) => {
    chosen = k;
    draw();
    viewport.fetch(`api/landscape/volume/${k + 1}`, { label: `Volume ${k + 1}` }); // vol_001.mrc is the first
  };
  const draw = () => plot.replaceChildren(scatter(found, axes, chosen, pick));
  const pairs = [];
  for (let i = 0; i < Math.min(4, dims); i++) for (let j = i + 1; j < Math.min(4, dims); j++) pairs.push({ value: `${i},${j}`, label: `${i + 1} × ${j + 1}` });
  const choice = pairs.length > 1
    ? segmented(pairs, { value: pairs[0].value, label: "Components", onchange: (v) => {
        axes = v.split(",").map(Number);
        draw();
      } })
    : null;
  draw();
  const states = found.stateOf ? [...new Set(found.stateOf)].sort((a, b) => a - b) : [];
  const key = h("div", { class: "swatches" }, ...states.map((c) =>
    h("span", { class: "swatch" }, h("span", { class: "dot", style: `background:${categoryColour(c)}` }), `state ${c}`, h("span", { class: "faint", text: ` ${found.stateOf.filter((k) => k === c).length}` }))));
  const parts = [h("div", { class: "row wrap" }, h("span", { class: "faint", text: "Volume components" }), choice), plot, key];
  if (found.states?.length) parts.push(stateTable(found.states));
  return parts;
}

function words(found, k) {
  const size = found.sizes ? `, ${count(found.sizes[k])} particles` : "";
  const energy = Number.isFinite(found.energies?.[k]) ? `, ${figure(found.energies[k])} kT` : "";
  return `volume ${k + 1}${size}${energy}`;
}

function scatter(found, [i, j], chosen, pick) {
  const { width, height, edge } = SIZE;
  const span = (k) => {
    const values = found.points.map((p) => p[k]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (v) => (high > low ? (v - low) / (high - low) : 0.5);
  };
  const [fx, fy] = [span(i), span(j)];
  // A volume's disc grows with the particles that it stands for.
  const most = found.sizes ? Math.max(...found.sizes) : 1;
  const radius = (k) => (found.sizes ? 3 + 5 * Math.sqrt(found.sizes[k] / most) : 4.5);
  const dots = found.points.map((p, k) => {
    const dot = svg("circle", {
      cx: edge + fx(p[i]) * (width - 2 * edge), cy: height - edge - fy(p[j]) * (height - 2 * edge), r: radius(k) + (k === chosen ? 2 : 0),
      fill: found.stateOf ? categoryColour(found.stateOf[k]) : categoryColour(0), class: k === chosen ? "volume chosen" : "volume",
      tabindex: 0, role: "button", "aria-label": `Show volume ${k + 1}`,
    }, svg("title", {}, document.createTextNode(words(found, k))));
    dot.addEventListener("click", () => pick(k));
    dot.addEventListener("keydown", (event) => event.key === "Enter" && pick(k));
    return dot;
  });
  const name = (x, y, text, anchor) => svg("text", { x, y, "text-anchor": anchor, class: "axis-name" }, document.createTextNode(text));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "landscape-plot" },
    svg("rect", { x: 0.5, y: 0.5, width: width - 1, height: height - 1, class: "frame" }), ...dots,
    name(width - 8, height - 8, `component ${i + 1}`, "end"), name(8, 16, `component ${j + 1}`, "start"));
}

function stateTable(states) {
  const head = ["State", "Particles", "Free energy (kT)"].map((text) => h("th", { scope: "col", text }));
  const rows = states.map(({ state, particles, energy }) => h("tr", {}, h("td", { text: state }), h("td", { text: count(particles) }), h("td", { text: figure(energy) })));
  return h("table", {}, h("caption", { text: "States" }), h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
}
