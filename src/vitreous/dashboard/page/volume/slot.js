// One volume on show: its caption, surface and slices, and what is said while there is none.

import { h, notice } from "../core/dom.js";
import { moments } from "./mrc.js";
import { Scene } from "./scene.js";
import { Slices } from "./slices.js";
import { hasWebGL } from "./vtk.js";

/** A pane of the viewport. */
export class Slot {
  constructor(name, empty) {
    this.name = name;
    this.caption = h("div", { class: "caption" });
    this.sceneHost = h("div", { class: "scene" });
    this.sliceHost = h("div", { class: "slices" });
    this.cover = h("div", { class: "cover" }, notice("empty", empty.title, empty.detail));
    this.node = h("div", { class: "slot", "data-slot": name }, this.sceneHost, this.sliceHost, this.caption, this.cover);
    this.slices = new Slices(this.sliceHost);
    this.level = null;
  }

  /** Say that something is on its way, without hiding what is there already. */
  wait(text) {
    this.node.classList.add("waiting");
    if (!this.volume) this.cover.replaceChildren(notice("loading", text));
  }

  fail(message) {
    this.node.classList.remove("waiting");
    this.cover.hidden = false;
    this.cover.replaceChildren(notice("error", "No volume", message));
  }

  /** Show a volume at `sigmas` standard deviations above its mean. */
  async show(volume, label, sigmas, detail = "") {
    this.volume = volume;
    this.moments = moments(volume.values);
    this.caption.replaceChildren(h("b", { text: label }), h("span", { text: detail }));
    this.slices.setVolume(volume, this.moments);
    this.cover.hidden = true;
    if (hasWebGL()) {
      if (!this.scene) {
        this.opening ||= Scene.create(this.sceneHost);
        this.scene = await this.opening;
        this.onscene?.(this.scene);
      }
      if (this.volume === volume) this.scene.setVolume("main", volume, this.threshold(sigmas), { colour: this.colour });
    }
    this.node.classList.remove("waiting");
    this.node.dataset.shown = label;
  }

  threshold(sigmas) {
    return this.moments.mean + sigmas * this.moments.sigma;
  }

  setLevel(sigmas, rough) {
    if (this.volume) this.scene?.setLevel("main", this.threshold(sigmas), rough);
  }
}
