// The current selection: its terms and their history, evaluated by the server.

import { postBytes } from "../core/api.js";
import { History, combine, invert, term, toRule } from "./rules.js";

/** Events: "change" (terms), and the store's `bits`, `selected`, `rule`, `selectionError`. */
export class Selection extends EventTarget {
  #asked = 0;

  constructor(store) {
    super();
    this.store = store;
    this.history = new History([]);
    this.mode = "replace";
  }

  get terms() {
    return this.history.present;
  }

  /** Add a rule in the present mode, or in the one that held keys ask for. */
  add(rule, { shift = false, alt = false } = {}) {
    const mode = shift && alt ? "intersect" : shift ? "add" : alt ? "subtract" : this.mode;
    this.set(combine(this.terms, rule, mode));
  }

  /** Add a rule below the present ones; unlike a lasso, it never replaces them. */
  join(rule) {
    const mode = this.mode === "replace" ? "intersect" : this.mode;
    return this.set(combine(this.terms, rule, mode));
  }

  set(terms, merge = false) {
    this.history.push(terms, merge);
    return this.#evaluate();
  }

  update(id, change, merge = false) {
    return this.set(this.terms.map((t) => (t.id === id ? { ...t, ...change } : t)), merge);
  }

  remove(id) {
    return this.set(this.terms.filter((t) => t.id !== id));
  }

  invert() {
    return this.set(invert(this.terms));
  }

  /** Put all terms in brackets, so that what follows applies to them as a whole. */
  group() {
    if (this.terms.length > 1) return this.set([term(toRule(this.terms))]);
    return Promise.resolve();
  }

  clear() {
    return this.terms.length ? this.set([]) : Promise.resolve();
  }

  undo() {
    this.history.undo();
    return this.#evaluate();
  }

  redo() {
    this.history.redo();
    return this.#evaluate();
  }

  async #evaluate() {
    const ask = ++this.#asked;
    const rule = toRule(this.terms);
    this.dispatchEvent(new Event("change"));
    if (!rule) {
      this.store.set({ bits: null, selected: 0, rule: null, selectionError: null });
      return;
    }
    try {
      const { bytes, headers } = await postBytes("api/select", { rule });
      if (ask !== this.#asked) return; // a newer question is under way
      this.store.set({ bits: new Uint8Array(bytes), selected: Number(headers.get("X-Count")), rule, selectionError: null });
    } catch (error) {
      if (ask === this.#asked) this.store.set({ bits: null, selected: 0, rule: null, selectionError: error.message });
    }
  }
}
