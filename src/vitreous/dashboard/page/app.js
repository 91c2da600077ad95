// Starts the page: asks what run this is, builds its views, and joins them.

import { ApiError, getJson } from "./core/api.js";
import { Columns } from "./core/columns.js";
import { commandLog } from "./core/commands.js";
import { button, h, notice } from "./core/dom.js";
import { header } from "./core/header.js";
import { shortcuts } from "./core/keys.js";
import { Store } from "./core/store.js";
import { tabs } from "./core/tabs.js";
import { themeButton } from "./core/theme.js";
import { landscapePanel } from "./landscape/panel.js";
import { LatentView } from "./latent/view.js";
import { particlePanel } from "./particles/panel.js";
import { selectionPanel } from "./selection/panel.js";
import { Selection } from "./selection/selection.js";
import { trainingPanel } from "./training/panel.js";
import { trajectoryPanel } from "./trajectories/panel.js";
import { volumePanel } from "./volume/panel.js";
import { Viewport } from "./volume/viewport.js";

const app = document.getElementById("app");

async function open() {
  const theme = themeButton();
  let run;
  try {
    run = await getJson("api/run");
  } catch (error) {
    app.replaceChildren(notice("error", "The run cannot be shown", error instanceof ApiError ? error.message : String(error)));
    return;
  }
  document.title = `${run.name} · vitreous`;
  if (run.columns.length) build(run, theme);
  else buildWithoutLatents(run, theme);
}

// A fit before its first latents, or one map without any: what there is.
function buildWithoutLatents(run, theme) {
  const store = new Store({ tab: "training" });
  const viewport = run.can.consensus ? new Viewport() : null;
  const waits = run.state === "training" ? "The latent view comes with the first checkpoint; until then, the course of the fit." : run.warnings[0] || "This run has none.";
  const message = viewport ? null : notice("empty", "No latents yet", waits);
  const panel = h("main", { class: "lone" }, message, viewport?.node, trainingPanel(store, run));
  app.replaceChildren(header(run, theme), panel, commandLog());
  if (run.state === "training" || run.loading) awaitLatents(panel);
  viewport?.fetch("api/volume?consensus=1", { label: "Map of all particles" });
  document.body.dataset.ready = "true";
}

function build(run, theme) {
  const columns = new Columns(run.columns);
  const numbers = columns.numbers().map((c) => c.name);
  const coloured = ["cluster", "pc1", "z1"].find((name) => columns.get(name)) || null;
  const store = new Store({
    x: run.defaultX || numbers[0], y: run.defaultY || numbers[1] || numbers[0], z: null, colour: coloured, palette: "viridis",
    bits: null, selected: 0, rule: null, selectionError: null,
    cursor: null, anchors: [], path: null, picking: false,
    tab: run.state === "training" ? "training" : "volume",
  });
  const selection = new Selection(store);
  const plotHost = h("main", { class: "latent", "aria-label": "Latent space" });
  const viewport = new Viewport();
  const latent = new LatentView(plotHost, store, columns, run);
  const workspace = tabs(store, viewport.node, {
    volume: ["Volume", volumePanel(store, run, viewport, latent, columns)],
    trajectories: ["Trajectories", trajectoryPanel(store, run, viewport, latent)],
    particles: ["Particles", particlePanel(store, run)],
    landscape: ["Landscape", landscapePanel(store, viewport)],
    training: ["Training", trainingPanel(store, run)],
  });
  join(latent, selection, store);
  shortcuts(latent, selection);
  const top = header(run, theme);
  app.replaceChildren(
    top,
    h("div", { class: "work" }, selectionPanel(selection, store, columns, run), plotHost, workspace),
    commandLog(),
  );
  if (run.loading) awaitTable(columns, top);
  latent.plot.resize();
  latent.start().then(() => (document.body.dataset.ready = "true"));
}

async function awaitLatents(panel) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const run = await getJson("api/run", { quiet: true }).catch(() => null);
    if (!run?.columns.length) continue;
    const go = button({ text: "Show them", kind: "primary", onclick: () => location.reload() });
    panel.prepend(notice("hint", "The particles can be shown now", "", go));
    return;
  }
}

// A large particle file is read after the page has opened: its columns come later.
async function awaitTable(columns, top) {
  const done = top.say("Reading the particle file…");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const run = await getJson("api/run", { quiet: true }).catch(() => null);
    if (!run || run.loading) continue;
    columns.set(run.columns);
    done();
    run.warnings.forEach(top.warn);
    return;
  }
}

// What the hand does on the plot, as selections, picks and anchors.
function join(latent, selection, store) {
  latent.addEventListener("pick", ({ detail }) => {
    if (detail.alt && latent.pointAt(detail.at)) return; // decoded at the very point instead
    if (detail.index < 0) return;
    if (store.get("picking")) store.set({ anchors: [...store.get("anchors"), detail.index] });
    store.set({ cursor: detail.index });
  });
  latent.addEventListener("lasso", ({ detail }) => {
    const polygon = detail.points.map((p) => latent.toValues(p).map((v) => Number(v.toPrecision(6))));
    selection.add({ lasso: { x: store.get("x"), y: store.get("y"), polygon } }, detail);
  });
  latent.addEventListener("category", ({ detail: { column, index } }) => {
    const rule = column.name === "cluster" ? { cluster: [Number(column.categories[index])] } : { range: { column: column.name, low: index, high: index } };
    selection.add(rule);
  });
}

open();
