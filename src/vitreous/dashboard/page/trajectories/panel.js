// The trajectory tab: choose a way through latent space, play it, save it.

import { getBytes, postJson } from "../core/api.js";
import { button, h, notice, segmented } from "../core/dom.js";
import { parseMrc } from "../volume/mrc.js";
import { Player } from "./player.js";

const KINDS = [
  { value: "direct", label: "Anchors", title: "Straight lines through picked particles" },
  { value: "graph", label: "Graph", title: "Along the neighbour graph, through particles that exist" },
  { value: "pc", label: "Component", title: "Along a principal component" },
  { value: "drawn", label: "Drawn", title: "Along a line drawn on the plot" },
];

const HELP = {
  direct: "Pick particles on the plot one after the other; the path runs through them in order.",
  graph: "Pick a start and an end (and stops between): the path steps between neighbours.",
  pc: "From one end of the component to the other, through the mean.",
  drawn: "Draw a line on the plot: the path follows the particles nearest to it.",
};

/** Build the tab. */
export function trajectoryPanel(store, run, viewport, latent) {
  if (!run.can.decode) return h("div", { class: "panel" }, notice("empty", "No paths", "This run decodes no volumes from latents, so there is nothing to play."));
  const kind = segmented(KINDS, { value: "direct", label: "Kind of path", onchange: () => paint() });
  const help = h("p", { class: "faint" });
  const anchors = h("ol", { class: "anchors" });
  const component = h("input", { type: "number", min: 1, max: Math.max(1, run.zdim), value: 1, class: "short", "aria-label": "Component" });
  const frames = h("input", { type: "number", min: 2, max: 200, value: 20, class: "short", "aria-label": "Frames" });
  const make = button({ text: "Make the path", kind: "primary" });
  const clear = button({ text: "Clear", kind: "quiet", onclick: () => store.set({ anchors: [], path: null }) });
  const area = h("div", {});
  const componentField = h("label", { class: "field" }, h("span", { text: "Component" }), component);

  const paint = () => {
    help.textContent = HELP[kind.value];
    componentField.hidden = kind.value !== "pc";
    const picked = store.get("anchors");
    anchors.hidden = kind.value === "pc";
    anchors.replaceChildren(...(kind.value === "drawn" && picked.length > 8
      ? [h("li", { class: "hint", text: `${picked.length} particles along the line` })]
      : picked.map((index, k) => h("li", { class: "chip" }, h("b", { text: k + 1 }), ` particle ${index}`,
          button({ name: "close", title: `Remove particle ${index}`, kind: "quiet", onclick: () => store.set({ anchors: picked.filter((_, j) => j !== k) }) })))));
    make.disabled = kind.value !== "pc" && picked.length < 2;
    // While this tab is open and wants anchors, a pick is one.
    store.set({ picking: store.get("tab") === "trajectories" && (kind.value === "direct" || kind.value === "graph") });
    if (store.get("tab") === "trajectories" && kind.value === "drawn" && !latent.plot.solid) latent.setTool("draw");
    else if (latent.plot.tool === "draw") latent.setTool("pan");
  };
  store.on(["anchors", "tab"], paint);
  latent.addEventListener("path", ({ detail }) => {
    const { x, y } = latent.axes;
    const seen = [];
    for (const p of detail.points) {
      const index = nearest(x.fractions, y.fractions, p);
      if (index >= 0 && seen.at(-1) !== index) seen.push(index);
    }
    store.set({ tab: "trajectories" });
    kind.choose("drawn");
    // At most a dozen anchors: enough for a hand's curve, and a command one can read.
    const step = Math.max(1, (seen.length - 1) / 11);
    store.set({ anchors: Array.from({ length: Math.min(12, seen.length) }, (_, k) => seen[Math.round(k * step)]) });
    paint();
    submit();
  });

  const submit = async () => {
    make.disabled = true;
    area.replaceChildren(notice("loading", "Finding the path…"));
    const body = { kind: kind.value === "drawn" ? "direct" : kind.value, frames: Math.min(200, Math.max(2, Number(frames.value) || 20)) };
    if (kind.value === "pc") body.component = Number(component.value);
    else body.anchors = store.get("anchors");
    try {
      const path = await postJson("api/trajectory", body);
      store.set({ path: { particles: path.particles, frame: 0 } });
      const player = new Player(path, store, viewport, async (k) => {
        const { bytes, headers } = await getBytes(`api/trajectory/${path.id}/${k}`, { quiet: true });
        return { volume: parseMrc(bytes), level: parseFloat(headers.get("X-Level") ?? "") };
      });
      area.replaceChildren(player.node, saveForm(path));
      player.go(0);
      area.scrollIntoView({ block: "nearest" });
    } catch (error) {
      area.replaceChildren(notice("error", "No path", error.message));
    }
    paint();
  };
  make.addEventListener("click", submit);
  paint();
  return h("div", { class: "panel" }, kind, help, anchors,
    h("div", { class: "row wrap" }, componentField, h("label", { class: "field" }, h("span", { text: "Frames" }), frames), make, clear), area);
}

function nearest(x, y, [px, py]) {
  let [best, least] = [-1, Infinity];
  for (let i = 0; i < x.length; i++) {
    const far = (x[i] - px) ** 2 + (y[i] - py) ** 2;
    if (far < least) [best, least] = [i, far];
  }
  return best;
}

function saveForm(path) {
  const maps = h("input", { type: "checkbox", checked: true });
  const cxc = h("input", { type: "checkbox", checked: true });
  const movie = segmented([{ value: "mp4", label: "MP4" }, { value: "gif", label: "GIF" }, { value: "", label: "No film" }], { value: "mp4", label: "Film" });
  const say = h("div", { class: "result", "aria-live": "polite" });
  const save = button({ name: "save", text: "Save into the run" });
  save.addEventListener("click", async () => {
    save.disabled = true;
    say.className = "result";
    say.textContent = "Decoding and writing…";
    try {
      const done = await postJson(`api/trajectory/${path.id}/save`, { maps: maps.checked, movie: movie.value || null, cxc: cxc.checked });
      const shown = done.paths.slice(0, 6);
      say.replaceChildren(h("p", { text: `${done.paths.length} files written` }), h("ul", {}, ...shown.map((p) => h("li", {}, h("code", { text: p }))),
        done.paths.length > shown.length ? h("li", { class: "faint", text: `and ${done.paths.length - shown.length} more` }) : null));
    } catch (error) {
      say.className = "result error";
      say.textContent = error.message;
    }
    save.disabled = false;
  });
  return h("section", { class: "save-path" },
    h("div", { class: "row wrap" }, movie, h("label", { class: "check" }, maps, h("span", { text: "maps" })), h("label", { class: "check" }, cxc, h("span", { text: "ChimeraX .cxc" })), save), say);
}

