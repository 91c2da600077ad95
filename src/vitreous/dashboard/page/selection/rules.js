// A selection as the reader builds it: terms joined by "and" / "or", each with an optional "not",
// read from left to right. Pure functions; the server evaluates the rule they make.

import { figure } from "../core/dom.js";

let nextId = 1;

/** A term of the expression. */
export const term = (rule, join = "and", not = false) => ({ id: nextId++, rule, join, not });

/** The terms as one rule for the server; null when there are none. */
export function toRule(terms) {
  let whole = null;
  let kind = null;
  for (const { rule, join, not } of terms) {
    const part = not ? { not: rule } : rule;
    if (whole === null) whole = part;
    else if (kind === join) whole = { [join]: [...whole[join], part] };
    else {
      whole = { [join]: [whole, part] };
      kind = join;
    }
  }
  return whole;
}

/** Add a rule the way the reader works at present: replace, add, intersect, subtract. */
export function combine(terms, rule, mode) {
  if (mode === "replace") return [term(rule)];
  if (!terms.length) return [term(rule, "and", mode === "subtract")];
  if (mode === "add") return [...terms, term(rule, "or")];
  return [...terms, term(rule, "and", mode === "subtract")];
}

/** The complement: a lone term toggles its "not", several become one group. */
export function invert(terms) {
  if (!terms.length) return [];
  if (terms.length === 1) return [{ ...terms[0], not: !terms[0].not }];
  return [term(toRule(terms), "and", true)];
}

/** A few words for a rule. */
export function describe(rule, columns) {
  const [kind, value] = Object.entries(rule)[0];
  const label = (name) => columns.get(name)?.label || name;
  if (kind === "lasso") return `lasso on ${label(value.x)} × ${label(value.y)}`;
  if (kind === "range") {
    const column = columns.get(value.column);
    if (column?.kind === "category" && value.low === value.high) return `${column.label} ${column.categories?.[value.low] ?? value.low}`;
    return `${label(value.column)} ${figure(value.low)} … ${figure(value.high)}`;
  }
  if (kind === "cluster") return value.length === 1 ? `cluster ${value[0]}` : `clusters ${value.join(", ")}`;
  if (kind === "nearest") return `${value.count} nearest to particle ${value.particle}`;
  if (kind === "named") return `saved “${value}”`;
  if (kind === "indices") return value.length === 1 ? `particle ${value[0]}` : `${value.length} particles`;
  if (kind === "all") return "all particles";
  if (kind === "not") return `not (${describe(value, columns)})`;
  return `(${value.map((part) => describe(part, columns)).join(` ${kind} `)})`;
}

/** Past and future of the expression. */
export class History {
  #past = [];
  #future = [];

  constructor(first) {
    this.present = first;
  }

  /** Take a new state in; `merge` replaces the last one (a slider on its way). */
  push(next, merge = false) {
    if (!merge) this.#past.push(this.present);
    if (this.#past.length > 200) this.#past.shift();
    this.#future = [];
    this.present = next;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  undo() {
    if (!this.canUndo) return;
    this.#future.push(this.present);
    this.present = this.#past.pop();
  }

  redo() {
    if (!this.canRedo) return;
    this.#past.push(this.present);
    this.present = this.#future.pop();
  }
}

/** Number of set bits. */
export function countBits(bits) {
  let n = 0;
  for (let b of bits) {
    b -= (b >> 1) & 0x55;
    b = (b & 0x33) + ((b >> 2) & 0x33);
    n += (b + (b >> 4)) & 0x0f;
  }
  return n;
}

/** Up to `most` selected particles, evenly spread over the run; all particles when `bits` is null. */
export function sample(bits, total, most, seed = 0) {
  const every = [];
  if (!bits) {
    for (let k = 0; k < Math.min(most, total); k++) every.push(Math.floor(((k + seedFraction(seed)) * total) / Math.min(most, total)) % total);
    return every;
  }
  for (let i = 0; i < total; i++) if ((bits[i >> 3] >> (i & 7)) & 1) every.push(i);
  if (every.length <= most) return every;
  return Array.from({ length: most }, (_, k) => every[Math.floor(((k + seedFraction(seed)) * every.length) / most) % every.length]);
}

const seedFraction = (seed) => (seed * 0.6180339887) % 1;
