// Plays the volumes of a path; each is fetched once and kept.

import { button, h, icon } from "../core/dom.js";

/** Buttons and a slider over the frames; `load(k)` gives {volume, level}. */
export class Player {
  constructor(path, store, viewport, load) {
    Object.assign(this, { path, store, viewport, load });
    this.frames = new Map();
    this.at = 0;
    this.number = path.z.length;
    this.slider = h("input", { type: "range", min: 0, max: this.number - 1, value: 0, "aria-label": "Frame", oninput: () => this.go(Number(this.slider.value)) });
    this.reading = h("output");
    this.button = button({ name: "play", title: "Play", kind: "primary", onclick: () => this.toggle() });
    this.speed = h("input", { type: "range", min: 2, max: 24, value: 8, class: "short", "aria-label": "Frames a second", title: "Frames a second" });
    this.node = h("div", { class: "player row" }, this.button, this.slider, this.reading, this.speed);
  }

  async #frame(k) {
    if (!this.frames.has(k)) {
      const loading = this.load(k);
      loading.catch(() => this.frames.delete(k));
      this.frames.set(k, loading);
    }
    return this.frames.get(k);
  }

  /** Show frame `k`. */
  async go(k) {
    this.at = k;
    this.slider.value = k;
    this.reading.textContent = `${k + 1} / ${this.number}`;
    const path = this.store.get("path");
    this.store.set({ path: { ...path, particles: this.path.particles, frame: k } });
    try {
      const { volume, level } = await this.#frame(k);
      if (this.at !== k) return;
      await this.viewport.show(volume, { label: `Frame ${k + 1} of ${this.number}`, detail: `near particle ${this.path.particles[k]}`, level });
      this.viewport.path = `api/trajectory/${this.path.id}/${k}`;
      this.viewport.label = `frame ${k + 1}`;
    } catch (error) {
      this.stop();
      this.viewport.slots.a.fail(error.message);
    }
  }

  toggle() {
    if (this.playing) this.stop();
    else this.#play();
  }

  stop() {
    this.playing = false;
    this.button.replaceChildren(icon("play"));
    this.button.title = "Play";
  }

  // Forth and back; a frame that is still decoding is waited for, never skipped.
  async #play() {
    this.playing = true;
    this.button.replaceChildren(icon("pause"));
    this.button.title = "Pause";
    let step = this.at >= this.number - 1 ? -1 : 1;
    while (this.playing && this.node.isConnected) {
      const began = performance.now();
      if (this.at + step < 0 || this.at + step >= this.number) step = -step;
      await this.go(this.at + step);
      if (!this.playing) break;
      const ahead = this.at + step;
      if (ahead >= 0 && ahead < this.number) this.#frame(ahead).catch(() => {});
      await new Promise((r) => setTimeout(r, Math.max(0, 1000 / Number(this.speed.value) - (performance.now() - began))));
    }
  }
}
