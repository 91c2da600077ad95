// The sidebar: build an expression term by term, see its size, keep it, write it to files.

import { button, count, h, segmented, select } from "../core/dom.js";
import { exportForm } from "./export.js";
import { rangeControl } from "./range.js";
import { describe } from "./rules.js";
import { savedList } from "./saved.js";

const MODES = [
  { value: "replace", label: "New", title: "A lasso makes a new selection; terms added below narrow it" },
  { value: "add", label: "Or", title: "It is added (hold Shift)" },
  { value: "intersect", label: "And", title: "Only what is in both remains (hold Shift and Alt)" },
  { value: "subtract", label: "Not", title: "It is taken away (hold Alt)" },
];

/** Build the sidebar. */
export function selectionPanel(selection, store, columns, run) {
  const controls = new Map(); // sliders by term
  const terms = h("ol", { class: "terms" });
  const size = h("div", { class: "size", "aria-live": "polite" });
  const undo = button({ name: "undo", title: "Undo (Ctrl+Z)", kind: "quiet", onclick: () => selection.undo() });
  const redo = button({ name: "redo", title: "Redo (Ctrl+Shift+Z)", kind: "quiet", onclick: () => selection.redo() });
  const clear = button({ text: "Clear", kind: "quiet", onclick: () => selection.clear() });
  const turn = button({ text: "Invert", kind: "quiet", onclick: () => selection.invert() });
  const group = button({ text: "Group", title: "Put the terms in brackets", kind: "quiet", onclick: () => selection.group() });

  const paintTerms = () => {
    for (const id of controls.keys()) if (!selection.terms.some((t) => t.id === id)) controls.delete(id);
    terms.replaceChildren(...selection.terms.map((t, k) => termRow(t, k, selection, columns, controls)));
    if (!selection.terms.length) {
      terms.append(h("li", { class: "hint", text: "Draw a lasso on the plot, or add a range, cluster or neighbours below. Terms are combined from top to bottom." }));
    }
    undo.disabled = !selection.history.canUndo;
    redo.disabled = !selection.history.canRedo;
    clear.disabled = turn.disabled = !selection.terms.length;
    group.disabled = selection.terms.length < 2;
  };
  const paintSize = () => {
    const error = store.get("selectionError");
    const chosen = store.get("bits") ? store.get("selected") : null;
    size.classList.toggle("error", Boolean(error));
    if (error) size.replaceChildren(h("span", { text: error }));
    else if (chosen === null) size.replaceChildren(h("b", { text: count(run.particles) }), " particles, none selected");
    else {
      const share = (100 * chosen) / run.particles;
      const percent = chosen && share < 0.1 ? "< 0.1" : share.toFixed(1);
      size.replaceChildren(h("b", { text: count(chosen) }), ` of ${count(run.particles)} selected · ${percent} %`);
      if (!chosen) size.append(h("p", { text: "No particle satisfies these terms." }));
    }
  };
  selection.addEventListener("change", paintTerms);
  store.on(["bits", "selected", "selectionError"], paintSize);
  paintTerms();
  paintSize();

  return h(
    "aside",
    { class: "sidebar", "aria-label": "Selection" },
    h("section", {}, h("header", {}, h("h2", { text: "Selection" }), h("span", { class: "grow" }), undo, redo),
      size,
      segmented(MODES, { value: "replace", label: "How the next term is combined", onchange: (mode) => (selection.mode = mode) }),
      terms,
      h("div", { class: "row" }, turn, group, clear),
      addForm(selection, store, columns)),
    savedList(selection, store, run),
    exportForm(store),
  );
}

function termRow(t, k, selection, columns, controls) {
  const join = k === 0
    ? null
    : h("button", {
        type: "button", class: "join", text: t.join, title: "Switch between and / or",
        onclick: () => selection.update(t.id, { join: t.join === "and" ? "or" : "and" }),
      });
  const not = h("button", {
    type: "button", class: "join not", "aria-pressed": String(t.not), text: "not", title: "Turn this term round",
    onclick: () => selection.update(t.id, { not: !t.not }),
  });
  const row = h(
    "li",
    { class: "term" },
    h("div", { class: "row tight" }, join, not, h("span", { class: "grow", text: describe(t.rule, columns) }),
      button({ name: "close", title: "Remove this term", kind: "quiet", onclick: () => selection.remove(t.id) })),
  );
  const column = t.rule.range && columns.get(t.rule.range.column);
  if (column?.kind === "number") {
    // A slider survives the redraws it causes, but not a step of the history.
    if (controls.get(t.id)?.rule !== t.rule) controls.set(t.id, sliderOf(t, column, selection, columns));
    row.append(controls.get(t.id));
  }
  return row;
}

function sliderOf(t, column, selection, columns) {
  const host = h("div", { class: "range-host" });
  host.rule = t.rule;
  columns.values(column.name).then((values) => {
    host.append(
      rangeControl(column, values, columns.span(column, values), t.rule.range, (low, high, more) => {
        // One drag is one step of the history.
        host.rule = { range: { column: column.name, low, high } };
        selection.update(t.id, { rule: host.rule }, more);
      }),
    );
  }, (error) => host.append(h("p", { class: "faint", text: error.message })));
  return host;
}

function addForm(selection, store, columns) {
  const ranges = () => [{ value: "", label: "Range of…" }, ...columns.options(columns.numbers())];
  const numbers = select(ranges(), {
    label: "Add a range of a column",
    onchange: async (name) => {
      numbers.value = "";
      const column = columns.get(name);
      const [low, high] = columns.span(column, Number.isFinite(column.low) ? [] : await columns.values(name));
      selection.join({ range: { column: name, low, high } });
    },
  });
  columns.addEventListener("change", () => numbers.offer(ranges()));
  const labels = columns.get("cluster")?.categories || [];
  const clusters = labels.length
    ? select([{ value: "", label: "Cluster…" }, ...labels.map((k) => ({ value: k, label: `Cluster ${k}` }))], {
        label: "Add a cluster",
        onchange: (k) => {
          clusters.value = "";
          selection.join({ cluster: [Number(k)] });
        },
      })
    : null;
  const number = h("input", { type: "number", min: 1, value: 100, class: "short", "aria-label": "Number of neighbours" });
  const near = button({ text: "nearest to the picked particle", title: "Pick a particle on the plot first", onclick: () => selection.join({ nearest: { particle: store.get("cursor"), count: Math.max(1, Number(number.value) || 1) } }) });
  const paint = () => {
    const at = store.get("cursor");
    near.disabled = at === null;
    near.querySelector("span").textContent = at === null ? "nearest to a picked particle" : `nearest to particle ${at}`;
  };
  store.on("cursor", paint);
  paint();
  return h("div", { class: "add" }, h("div", { class: "row" }, numbers, clusters), h("div", { class: "row" }, number, near));
}
