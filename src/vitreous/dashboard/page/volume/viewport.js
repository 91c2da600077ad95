// The workspace's window on volumes: one or two of them side by side, turned and cut together.

import { button, figure, h, notice, segmented } from "../core/dom.js";
import { onTheme } from "../core/theme.js";
import { getBytes } from "../core/api.js";
import { moments, parseMrc } from "./mrc.js";
import { Slot } from "./slot.js";
import { hasWebGL } from "./vtk.js";

const EMPTY = {
  a: { title: "No volume yet", detail: "Click a particle on the plot to decode it." },
  b: { title: "Nothing to compare with", detail: "Keep a volume, then decode another." },
};

/** Shows volumes; `fetch` loads one from the server into it. */
export class Viewport {
  constructor() {
    this.sigmas = 3;
    this.touched = false; // once the reader has set a level, new volumes keep it
    this.slots = { a: new Slot("a", EMPTY.a), b: new Slot("b", EMPTY.b) };
    this.slots.a.colour = "--surface";
    this.slots.b.colour = "--surface-b";
    this.slots.b.node.hidden = true;
    this.slider = h("input", {
      type: "range", min: 0, max: 12, step: 0.05, value: 3, "aria-label": "Level of the surface, in standard deviations",
      oninput: () => this.#move(true),
      onchange: () => this.#move(false),
    });
    this.reading = h("output", { text: "3.0 σ" });
    const modes = [
      { value: "surface", label: "Surface" },
      { value: "slices", label: "Slices" },
    ];
    this.mode = segmented(modes, { value: "surface", label: "How volumes are drawn", onchange: (mode) => this.#show(mode) });
    this.panes = h("div", { class: "panes" }, this.slots.a.node, this.slots.b.node);
    this.tools = h("div", { class: "toolbar", role: "toolbar", "aria-label": "Volume" }, this.mode,
      h("label", { class: "field grow" }, h("span", { text: "Level" }), this.slider, this.reading),
      button({ name: "reset", title: "Show the whole box", kind: "quiet", onclick: () => this.reset() }),
      (this.keep = button({ name: "compare", title: "Keep this volume beside the next", kind: "quiet", onclick: () => this.toggleCompare() })));
    this.node = h("section", { class: "viewport", "aria-label": "Volume" }, this.tools, this.panes);
    this.slots.a.onscene = () => this.#link();
    this.slots.b.onscene = () => this.#link();
    this.slots.a.slices.onmove = (axis, index) => this.slots.b.slices.move(axis, index);
    this.slots.b.slices.onmove = (axis, index) => this.slots.a.slices.move(axis, index);
    onTheme(() => Object.values(this.slots).forEach((slot) => slot.scene?.theme()));
    if (hasWebGL()) this.#show("surface");
    else {
      this.mode.choose("slices");
      this.mode.querySelector("button").disabled = true;
      this.#show("slices");
      this.node.append(notice("hint", "This browser has no WebGL", "Volumes are shown as slices."));
    }
  }

  #link() {
    const [a, b] = [this.slots.a.scene, this.slots.b.scene];
    if (a && b) b.follow(a);
    this.applyOverlay?.();
  }

  #show(mode) {
    this.node.dataset.mode = mode;
    this.slider.disabled = mode === "slices";
    Object.values(this.slots).forEach((slot) => slot.scene?.resize());
  }

  #move(rough) {
    this.sigmas = Number(this.slider.value);
    this.touched = true;
    this.#read();
    // One frame's worth of moves makes one surface.
    cancelAnimationFrame(this.moving);
    this.moving = requestAnimationFrame(() => {
      Object.values(this.slots).forEach((slot) => slot.setLevel(this.sigmas, rough));
      this.onlevel?.(this.sigmas);
    });
  }

  #read() {
    this.reading.textContent = `${this.sigmas.toFixed(1)} σ`;
    if (this.slots.a.moments) this.reading.title = `density ${figure(this.slots.a.threshold(this.sigmas))}`;
  }

  reset() {
    const { a } = this.slots;
    if (a.scene) a.scene.reset(a.volume);
    this.slots.b.scene?.render();
  }

  /** Show a parsed volume in a slot. */
  async show(volume, { label, detail, level, slot = "a" }) {
    const target = this.slots[slot];
    if (!this.touched && Number.isFinite(level)) {
      const { mean, sigma } = moments(volume.values);
      if (sigma > 0) {
        this.sigmas = Math.min(12, Math.max(0, (level - mean) / sigma));
        this.slider.value = this.sigmas;
      }
    }
    // Gaussians belong to the particle they were shown with; whoever wants them draws them anew.
    if (slot === "a") target.scene?.setGaussians(null);
    await target.show(volume, label, this.sigmas, detail);
    this.#read();
  }

  /** Load a volume by its address and show it; the error, if any, takes the slot. */
  async fetch(path, { label, slot = "a", quiet = false } = {}) {
    const target = this.slots[slot];
    target.wait("Decoding…");
    const began = performance.now();
    try {
      const { bytes, headers } = await getBytes(path, { quiet });
      const volume = parseMrc(bytes);
      const took = `${Math.round(performance.now() - began)} ms`;
      await this.show(volume, { label, detail: `${volume.nx}³ · ${figure(volume.voxel)} Å · ${took}`, level: parseFloat(headers.get("X-Level") ?? ""), slot });
      this.path = path;
      this.label = label;
      return volume;
    } catch (error) {
      target.fail(error.message);
      return null;
    }
  }

  /** Keep the present volume on the right while the left one goes on changing, or stop that. */
  async toggleCompare() {
    const { a, b } = this.slots;
    b.node.hidden = !b.node.hidden;
    this.keep.setAttribute("aria-pressed", !b.node.hidden);
    if (!b.node.hidden && a.volume) await this.show(a.volume, { label: `kept: ${this.label}`, slot: "b" });
    a.scene?.resize();
  }
}
