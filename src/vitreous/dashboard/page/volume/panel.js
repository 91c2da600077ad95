// The volume tab: what is decoded, what is laid over it, and the selection's own reconstruction.

import { getBytes, getJson, postJson } from "../core/api.js";
import { button, count, figure, h, notice, select } from "../core/dom.js";
import { latest } from "../core/latest.js";
import { linePlot } from "../plots/lines.js";
import { moments, parseMrc } from "./mrc.js";
import { hasWebGL } from "./vtk.js";

/** Build the tab's controls; `viewport` draws. */
export function volumePanel(store, run, viewport, latent, columns) {
  const follow = check("Follow the pointer", "Decode the particle under the pointer as it moves");
  const overlay = check("Consensus", "The map of all particles, transparent");
  const points = check("Gaussians", "The model's Gaussians in this volume");
  const arrows = check("Displacements", "How each Gaussian is moved from where it rests");
  const number = h("input", { type: "number", min: 0, max: run.particles - 1, placeholder: "particle", class: "number", "aria-label": "Particle to decode" });
  const go = h("form", { class: "row", onsubmit: (event) => {
    event.preventDefault();
    if (number.value !== "") store.set({ cursor: Math.min(run.particles - 1, Math.max(0, Number(number.value))) });
  } }, number, button({ text: "Decode", kind: "primary", type: "submit" }));
  const save = h("a", { class: "button", hidden: true, download: "volume.mrc", text: "Save MRC" });
  const consensus = button({ text: "Show consensus", onclick: () => viewport.fetch("api/volume?consensus=1", { label: "Consensus" }).then(offer) });
  const clusters = clusterSelect(columns, (k) => viewport.fetch(`api/volume?cluster=${k}`, { label: `Cluster ${k}` }).then(offer));
  const message = h("p", { class: "faint", "aria-live": "polite" });

  const offer = () => {
    save.hidden = !viewport.path;
    save.href = viewport.path || "";
    save.download = `${(viewport.label || "volume").toLowerCase().replace(/[^a-z0-9]+/g, "-")}.mrc`;
    return model();
  };
  const decode = latest(async (particle, quiet) => {
    await viewport.fetch(`api/volume?particle=${particle}`, { label: `Particle ${particle}`, quiet });
    await offer();
  });
  // The other latents or components stay those of the picked particle; without one they are 0.
  const decodePoint = latest(async ({ axes, labels, isExact, values }) => {
    const at = store.get("cursor");
    const place = values.map((v) => Number(v.toPrecision(6))).join(",");
    const path = `api/volume?axes=${axes.map(encodeURIComponent).join(",")}&z=${place}${at === null ? "" : `&particle=${at}`}`;
    const label = labels.map((name, k) => `${name} ${figure(values[k])}`).join(", ");
    await viewport.fetch(path, { label: isExact ? label : `Particle nearest to ${label}` });
    offer();
  });
  let moved = {};
  const model = latest(async () => {
    const wanted = points.input.checked || arrows.input.checked;
    const scene = viewport.slots.a.scene;
    if (!scene || !run.can.flexible) return;
    // Maps of selections and the consensus are of no one latent.
    const query = /^api\/volume(\?(?!consensus).*)$/.exec(viewport.path ?? "")?.[1];
    try {
      if (wanted && query && moved.query !== query) moved = { query, found: await getJson(`api/flexible/gaussians${query}`) };
      scene.setGaussians(wanted && query ? moved.found : null, { points: points.input.checked, arrows: arrows.input.checked });
      message.textContent = "";
    } catch (error) {
      message.textContent = error.message;
    }
  });
  let mean = null;
  const drawOverlay = async () => {
    const scene = viewport.slots.a.scene;
    if (!scene) return;
    if (!overlay.input.checked) return scene.removeVolume("consensus");
    try {
      mean ||= parseMrc((await getBytes("api/volume?consensus=1")).bytes);
      const spread = moments(mean.values);
      scene.setVolume("consensus", mean, spread.mean + viewport.sigmas * spread.sigma, { colour: "--consensus", opacity: 0.28 });
      viewport.onlevel = (sigmas) => scene.setLevel("consensus", spread.mean + sigmas * spread.sigma);
    } catch (error) {
      overlay.input.checked = false;
      message.textContent = error.message;
    }
    return undefined;
  };
  overlay.input.addEventListener("change", drawOverlay);
  points.input.addEventListener("change", model);
  arrows.input.addEventListener("change", model);
  viewport.applyOverlay = () => overlay.input.checked && drawOverlay();

  store.on("cursor", () => {
    const at = store.get("cursor");
    if (at === null || !run.can.decode) return;
    number.value = at;
    decode(at, false);
  });
  latent.addEventListener("hover", ({ detail }) => {
    if (follow.input.checked && detail.index >= 0 && run.can.decode) decode(detail.index, true);
  });

  latent.addEventListener("pick", ({ detail }) => {
    const point = detail.alt && run.can.decode ? latent.pointAt(detail.at) : null;
    if (point) decodePoint(point);
  });

  const overlays = [run.can.consensus ? overlay.node : null, run.can.flexible ? points.node : null, run.can.flexible ? arrows.node : null];
  const head = run.can.decode
    ? [h("div", { class: "row wrap" }, go, run.can.consensus ? consensus : null, clusters),
       h("div", { class: "row wrap" }, follow.node, ...(hasWebGL() ? overlays : []), h("span", { class: "grow" }), save)]
    : [run.can.consensus ? h("div", { class: "row wrap" }, consensus, save) : notice("empty", "This run cannot decode volumes yet", run.state === "training" ? "Its first checkpoint is still to come." : "It has no decoder.")];
  if (!run.can.decode && run.can.consensus) consensus.click();
  return h("div", { class: "panel" }, ...head, message, regression(store, run, viewport, offer));
}

function check(label, title) {
  const input = h("input", { type: "checkbox" });
  return { input, node: h("label", { class: "check", title }, input, h("span", { text: label })) };
}

function clusterSelect(columns, onpick) {
  const labels = columns.get("cluster")?.categories;
  if (!labels?.length) return null;
  const node = select([{ value: "", label: "Cluster…" }, ...labels.map((k) => ({ value: k, label: `Cluster ${k}` }))], {
    label: "Decode the mean of a cluster",
    onchange: (k) => {
      node.value = "";
      onpick(k);
    },
  });
  return node;
}

function regression(store, run, viewport, offer) {
  if (!run.can.regress) return null;
  const result = h("div", { class: "result" });
  const make = button({ name: "cube", text: "Reconstruct the selection" });
  make.addEventListener("click", async () => {
    make.disabled = true;
    result.replaceChildren(notice("loading", "Reconstructing from the images…"));
    try {
      const done = await postJson("api/regress", { rule: store.get("rule") || { all: true } });
      await viewport.fetch(`api/regress/${done.id}`, { label: `Selection of ${count(done.count)}`, quiet: true });
      offer();
      const curve = done.fsc.frequency.map((f, k) => [f, done.fsc.value[k]]);
      const inverse = (f) => (f > 0 ? `${Number((1 / f).toPrecision(3))} Å` : "∞");
      const gold = Number.isFinite(done.resolution) ? `, ${done.resolution.toFixed(1)} Å at 0.143` : "";
      result.replaceChildren(
        linePlot([{ name: "FSC", points: curve }], { title: `Half-set FSC of ${count(done.count)} particles${gold}`, yRange: [Math.min(0, ...done.fsc.value), 1], levels: [{ value: 0.143, label: "0.143" }], xText: inverse }),
        h("p", { class: "faint", text: `${done.method === "kernel regression" ? "Kernel regression" : "Reconstruction"}: ${done.note}.` }),
      );
      result.scrollIntoView({ block: "end" });
    } catch (error) {
      result.replaceChildren(notice("error", "No reconstruction", error.message));
    }
    paint();
  });
  const paint = () => {
    const bits = store.get("bits");
    make.disabled = Boolean(bits) && !store.get("selected");
    make.querySelector("span").textContent = bits ? `Reconstruct the ${count(store.get("selected"))} selected` : "Reconstruct all particles";
  };
  store.on(["bits", "selected"], paint);
  paint();
  return h("section", { class: "regression" }, h("header", {}, h("h2", { text: "From the images" })),
    h("p", { class: "faint", text: "A kernel regression without the decoder: where the signal is strong, of the selected particles alone; where it is weak, of their neighbours in the latent space too. With its half-set correlation." }),
    h("div", { class: "row" }, make), result);
}
