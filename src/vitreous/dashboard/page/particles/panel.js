// The particle tab: images of the selection with matching projections, and where they look from.

import { getBytes, postBytes } from "../core/api.js";
import { button, count, h, notice } from "../core/dom.js";
import { sample } from "../selection/rules.js";

const SIZES = [12, 24, 48, 96];

/** Build the tab; images are fetched when it is shown and the selection has changed. */
export function particlePanel(store, run) {
  const corrected = toggle("CTF-corrected");
  const projections = toggle("Projections beside", true);
  const number = h("select", { "aria-label": "Number of images" }, ...SIZES.map((n) => h("option", { value: n, text: `${n} images` })));
  const images = h("div", { class: "montage" });
  const poses = h("div", { class: "poses" });
  let seed = 0;
  let stale = true;
  let urls = [];

  const picture = (bytes, alt) => {
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    urls.push(url);
    return h("img", { src: url, alt });
  };
  const montage = async () => {
    const bits = store.get("bits");
    const indices = sample(bits, run.particles, Number(number.value), seed);
    if (!indices.length) return images.replaceChildren(notice("empty", "Nothing is selected", "No particle satisfies the present terms."));
    images.replaceChildren(notice("loading", "Reading images…"));
    try {
      const flag = (t) => (t.input.checked ? 1 : 0);
      const { bytes } = await getBytes(`api/montage?indices=${indices.join(",")}&corrected=${flag(corrected)}&projections=${flag(projections)}`);
      const what = bits ? `${indices.length} of ${count(store.get("selected"))} selected particles` : `${indices.length} of all ${count(run.particles)} particles`;
      images.replaceChildren(picture(bytes, `Montage of ${what}`), h("p", { class: "faint", text: `${what}: ${indices.slice(0, 8).join(", ")}${indices.length > 8 ? ", …" : ""}` }));
    } catch (error) {
      images.replaceChildren(notice("error", "The images cannot be shown", error.message));
    }
    return undefined;
  };
  const distribution = async () => {
    poses.replaceChildren(notice("loading", "Counting viewing directions…"));
    try {
      const { bytes } = await postBytes("api/poses", { rule: store.get("rule") || { all: true } });
      poses.replaceChildren(picture(bytes, "Viewing directions"));
    } catch (error) {
      poses.replaceChildren(notice("error", "No viewing directions", error.message));
    }
  };
  const load = () => {
    stale = false;
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = [];
    montage();
    distribution();
  };
  const wake = () => {
    if (store.get("tab") === "particles" && stale) load();
  };
  store.on("bits", () => {
    stale = true;
    wake();
  });
  store.on("tab", wake);
  for (const control of [corrected.input, projections.input, number]) control.addEventListener("change", montage);
  const other = button({ text: "Others", title: "Other particles of the selection", onclick: () => {
    seed += 1;
    montage();
  } });
  if (!run.can.images) {
    const why = run.warnings.find((w) => /stack|image|particle/i.test(w)) || "The particle images cannot be read.";
    return h("div", { class: "panel" }, notice("empty", "No images", why), h("section", {}, h("header", {}, h("h2", { text: "Viewing directions" })), poses));
  }
  return h("div", { class: "panel" },
    h("div", { class: "row wrap" }, number, corrected.node, projections.node, other),
    images,
    h("section", {}, h("header", {}, h("h2", { text: "Viewing directions" })), poses));
}

function toggle(label, checked = false) {
  const input = h("input", { type: "checkbox", checked });
  return { input, node: h("label", { class: "check" }, input, h("span", { text: label })) };
}
