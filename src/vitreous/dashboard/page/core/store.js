// What the page knows, in one place; views listen to the keys they draw.

/** A bag of values that tells listeners which changed. */
export class Store {
  #values = {};
  #listeners = new Map();

  constructor(values) {
    this.#values = { ...values };
  }

  get(key) {
    return this.#values[key];
  }

  /** Change values; each listener of a changed key is called once. */
  set(patch) {
    const calls = new Set();
    for (const [key, value] of Object.entries(patch)) {
      if (Object.is(this.#values[key], value)) continue;
      this.#values[key] = value;
      for (const fn of this.#listeners.get(key) || []) calls.add(fn);
    }
    for (const fn of calls) fn(this);
  }

  /** Call `fn` whenever one of `keys` changes. */
  on(keys, fn) {
    for (const key of [keys].flat()) {
      if (!this.#listeners.has(key)) this.#listeners.set(key, new Set());
      this.#listeners.get(key).add(fn);
    }
  }
}
