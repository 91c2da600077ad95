// The run's columns: fetched once each, and the axis that spans one.

import { column as fetchColumn } from "./api.js";
import { withUnit } from "../latent/legend.js";

const KEPT = 24; // columns held at once: 4 MB each for a million particles

const GROUPS = {
  latent: "Latent",
  pca: "Principal components",
  umap: "UMAP",
  pose: "Pose",
  ctf: "CTF",
  class: "Classes",
  density: "Density and energy",
  error: "Error and outliers",
  landscape: "Landscape",
  run: "Run",
};

/** Look columns up by name and load their values lazily; "change" when the server found more. */
export class Columns extends EventTarget {
  #cache = new Map();

  constructor(list) {
    super();
    this.set(list);
  }

  /** Take the server's list of columns in. */
  set(list) {
    this.list = list;
    this.byName = new Map(list.map((c) => [c.name, c]));
    this.dispatchEvent(new Event("change"));
  }

  get(name) {
    return this.byName.get(name);
  }

  numbers() {
    return this.list.filter((c) => c.kind === "number");
  }

  /** Options for a select, grouped as the server groups them. */
  options(list = this.list) {
    return list.map((c) => ({ value: c.name, label: c.label, group: GROUPS[c.group] || c.group || "Other" }));
  }

  /** A promise of the values; the longest unused column is forgotten first. */
  values(name) {
    let values = this.#cache.get(name);
    this.#cache.delete(name);
    if (!values) {
      values = fetchColumn(name, this.get(name).kind);
      values.catch(() => this.#cache.delete(name));
    }
    this.#cache.set(name, values);
    if (this.#cache.size > KEPT) this.#cache.delete(this.#cache.keys().next().value);
    return values;
  }

  /** A column as an axis: {name, label, middle, half, fractions} with fractions in −1…1. */
  async axis(name) {
    const column = this.get(name);
    const raw = await this.values(name);
    const [low, high] = this.span(column, raw);
    const middle = (low + high) / 2;
    const half = (high - low) / 2 || 1;
    const fractions = new Float32Array(raw.length);
    const scale = 1 / half;
    for (let i = 0; i < raw.length; i++) fractions[i] = (raw[i] - middle) * scale;
    return { name, label: withUnit(column), middle, half, fractions, raw };
  }

  /** Lowest and highest value, from the server or, without, from the values. */
  span(column, raw) {
    if (column.kind === "category") return [-0.5, (column.categories?.length || 1) - 0.5];
    if (Number.isFinite(column.low) && Number.isFinite(column.high)) return [column.low, column.high];
    let [low, high] = [Infinity, -Infinity];
    for (const v of raw) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    return low <= high ? [low, high] : [0, 1];
  }
}
