// The latent view: axes and colour pickers, tools, the scatter, its legend and what lies over it.

import { button, figure, h, notice, segmented, select, svg } from "../core/dom.js";
import { isDark, onTheme } from "../core/theme.js";
import { drawAxes } from "./axes.js";
import { PALETTES, paletteBytes, robustRange, writeColours } from "./colours.js";
import { legend, withUnit } from "./legend.js";
import { PointPlot } from "./plot.js";

const NONE = "";

/** Build the view into `host`; `store` holds axes, colour, selection bits, cursor and path. */
export class LatentView extends EventTarget {
  constructor(host, store, columns, run) {
    super();
    Object.assign(this, { host, store, columns, run });
    this.axes = {};
    this.style = new Uint8Array(4 * run.particles);
    this.stage = h("div", { class: "stage", tabIndex: 0, role: "application", "aria-label": "Particles in latent space: arrow keys move, + and − zoom" });
    this.busy = h("div", { class: "stage-busy", hidden: true }, notice("loading", "Loading columns…"));
    this.legendHost = h("div", { class: "legend-host" });
    this.tip = h("div", { class: "tip", hidden: true });
    const toolbar = this.#toolbar();
    host.append(toolbar, this.stage);
    const wanted = new URLSearchParams(location.search).get("points");
    this.plot = new PointPlot(this.stage, { renderer: wanted });
    this.stage.plot = this.plot;
    this.plot.setStyle(this.style, false);
    this.grid = svg("g");
    this.marks = svg("g");
    this.plot.overlay.append(this.grid, this.marks);
    this.stage.append(this.legendHost, this.tip, this.busy);
    // Said, since it explains why fewer points are drawn while the view moves.
    if (this.plot.reason) toolbar.append(h("span", { class: "renderer", text: this.plot.reason.split(":")[0], title: this.plot.reason }));
    this.#listen();
  }

  #toolbar() {
    const { store, columns } = this;
    const axisSelect = (key, label, extra = []) => {
      const node = select([...extra, ...columns.options()], {
        value: store.get(key) || NONE,
        label: `${label} axis`,
        onchange: (value) => store.set({ [key]: value || null }),
      });
      this[`${key}Select`] = node;
      columns.addEventListener("change", () => node.offer([...extra, ...columns.options()]));
      return h("label", { class: "field" }, h("span", { text: label }), node);
    };
    this.tools = segmented(
      [
        { value: "pan", icon: "pan", title: "Move and pick (V)" },
        { value: "lasso", icon: "lasso", title: "Lasso (L)" },
        { value: "draw", icon: "draw", title: "Draw a path for a trajectory (P)" },
      ],
      { value: "pan", label: "Tool", onchange: (tool) => this.setTool(tool) },
    );
    this.paletteSelect = select(
      PALETTES.map((p) => ({ value: p, label: p })),
      { value: store.get("palette"), label: "Palette", onchange: (value) => store.set({ palette: value }) },
    );
    const size = h("input", {
      type: "range", min: -1, max: 1.6, step: 0.1, value: 0, class: "short", "aria-label": "Point size", title: "Point size",
      oninput: () => {
        this.plot.pointScale = 2 ** Number(size.value);
        this.plot.redraw();
      },
    });
    return h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Latent view" },
      this.tools,
      axisSelect("x", "X"),
      axisSelect("y", "Y"),
      axisSelect("z", "Z", [{ value: NONE, label: "flat" }]),
      axisSelect("colour", "Colour", [{ value: NONE, label: "one colour" }]),
      this.paletteSelect,
      size,
      button({ name: "reset", title: "Show all (0)", kind: "quiet", onclick: () => this.plot.reset() }),
    );
  }

  setTool(tool) {
    this.plot.tool = tool;
    this.stage.dataset.tool = tool;
    this.tools.choose(tool);
  }

  #listen() {
    const { store, plot } = this;
    store.on(["x", "y", "z"], () => this.#loadAxes());
    store.on(["colour", "palette"], () => this.#loadColour());
    store.on("bits", () => this.#mark());
    store.on(["cursor", "anchors", "path"], () => this.#drawMarks());
    onTheme(() => this.#palette());
    plot.addEventListener("view", () => {
      drawAxes(this.grid, plot, this.axes);
      this.#drawMarks();
    });
    plot.addEventListener("hover", ({ detail }) => this.#hover(detail));
    for (const name of ["pick", "lasso", "path"]) {
      plot.addEventListener(name, ({ detail }) => this.dispatchEvent(new CustomEvent(name, { detail })));
    }
    this.stage.addEventListener("pointerdown", () => (this.tip.hidden = true));
    this.stage.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const { camera } = this.plot;
    const moves = { ArrowLeft: [0.05, 0], ArrowRight: [-0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] };
    if (moves[event.key]) camera.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") camera.zoomAt(1.2, 0, 0);
    else if (event.key === "-") camera.zoomAt(1 / 1.2, 0, 0);
    else return;
    event.preventDefault();
    this.plot.touch();
  }

  /** Load everything anew and show it. */
  async start() {
    await this.#loadAxes();
    await this.#loadColour();
  }

  async #wait(work) {
    const slow = setTimeout(() => (this.busy.hidden = false), 120);
    try {
      await work();
      this.failed?.remove();
    } catch (error) {
      this.failed?.remove();
      this.failed = notice("error", "The particles cannot be shown", error.message);
      this.failed.classList.add("over");
      this.stage.append(this.failed);
    }
    clearTimeout(slow);
    this.busy.hidden = true;
  }

  #loadAxes() {
    const { store, columns } = this;
    return this.#wait(async () => {
      const names = ["x", "y", "z"].map((key) => store.get(key));
      for (const key of ["x", "y", "z"]) this[`${key}Select`].value = store.get(key) || NONE;
      const [x, y, z] = await Promise.all(names.map((n) => (n ? columns.axis(n) : null)));
      // The reader may have chosen again meanwhile.
      if (names.some((n, k) => n !== store.get("xyz"[k]))) return;
      this.axes = { x, y, z };
      this.tools.classList.toggle("solid", Boolean(z));
      if (z) this.setTool("pan");
      this.plot.setPositions(x.fractions, y.fractions, z ? z.fractions : null);
    });
  }

  #loadColour() {
    const { store, columns } = this;
    return this.#wait(async () => {
      const name = store.get("colour");
      this.colourSelect.value = name || NONE;
      const values = name ? await columns.values(name) : null;
      if (name !== store.get("colour")) return;
      this.column = name ? columns.get(name) : null;
      this.values = values;
      this.range = values && this.column.kind === "number" ? robustRange(values) : [0, 1];
      writeColours(this.style, values, this.column?.kind, this.range);
      this.#palette();
      this.plot.setStyle(this.style, this.plot.marked);
    });
  }

  #palette() {
    const dark = isDark();
    const bytes = paletteBytes(this.column?.kind || "number", this.store.get("palette"), dark ? [90, 98, 110] : [176, 182, 190]);
    if (!this.column) bytes.set(dark ? [94, 196, 203] : [17, 112, 128], 4);
    this.paletteSelect.hidden = this.column?.kind !== "number";
    this.plot.setPalette(bytes, dark ? [0.42, 0.46, 0.52, 0.3] : [0.62, 0.65, 0.7, 0.3]);
    this.legendHost.replaceChildren(
      legend(this.column, this.range, this.store.get("palette"), (index) =>
        this.dispatchEvent(new CustomEvent("category", { detail: { column: this.column, index } })),
      ),
    );
  }

  #mark() {
    const bits = this.store.get("bits");
    const { style } = this;
    for (let i = 0, n = style.length / 4; i < n; i++) style[4 * i + 1] = bits ? (bits[i >> 3] >> (i & 7)) & 1 : 0;
    this.plot.setStyle(style, Boolean(bits));
  }

  /** Where a particle lies on the plot, in pixels. */
  place(index) {
    const { x, y, z } = this.axes;
    return x ? this.plot.project(x.fractions[index], y.fractions[index], z ? z.fractions[index] : 0) : null;
  }

  /** Axis fractions → the columns' own values. */
  toValues([fx, fy]) {
    const { x, y } = this.axes;
    return [x.middle + fx * x.half, y.middle + fy * y.half];
  }

  /** The axes and their values at a place, for the server to find its latent; null where there is no such place. */
  pointAt(fractions) {
    const { x, y, z } = this.axes;
    const isPlane = !z && [x, y].every((axis) => this.columns.get(axis.name)?.kind === "number");
    if (!isPlane) return null;
    // Of other axes no formula leads back: the server takes the nearest particle.
    const isExact = [/^z\d+$/, /^pc\d+$/].some((kind) => kind.test(x.name) && kind.test(y.name));
    return { axes: [x.name, y.name], labels: [x.label, y.label], isExact, values: this.toValues(fractions) };
  }

  #drawMarks() {
    const parts = [];
    const path = this.store.get("path");
    const line = path?.particles?.map((i) => this.place(i)).filter(Boolean) || [];
    if (line.length > 1) {
      const points = line.map((p) => p.join(",")).join(" ");
      parts.push(svg("polyline", { points, class: "path-halo" }), svg("polyline", { points, class: "path" }));
      for (const [k, [cx, cy]] of line.entries()) {
        const now = k === path.frame;
        parts.push(svg("circle", { cx, cy, r: now ? 6 : 2.5, class: now ? "path-now" : "path-stop" }));
      }
    }
    const cursor = this.store.get("cursor");
    const at = cursor === null || cursor === undefined ? null : this.place(cursor);
    if (at) parts.push(svg("circle", { cx: at[0], cy: at[1], r: 10, class: "cursor" }), svg("circle", { cx: at[0], cy: at[1], r: 1.5, class: "cursor-dot" }));
    const anchors = this.store.get("anchors") || [];
    // Those of a drawn line are many, and the line shows them.
    for (const [k, index] of (anchors.length > 8 && path ? [] : anchors).entries()) {
      const p = this.place(index);
      if (!p) continue;
      parts.push(svg("circle", { cx: p[0], cy: p[1], r: 8, class: "anchor" }));
      parts.push(svg("text", { x: p[0], y: p[1] + 3.5, "text-anchor": "middle", class: "anchor-name" }, document.createTextNode(k + 1)));
    }
    this.marks.replaceChildren(...parts);
  }

  #hover({ index, event }) {
    this.tip.hidden = index < 0;
    if (index >= 0) {
      const { x, y, z } = this.axes;
      const lines = [[x.label, x.raw[index]], [y.label, y.raw[index]]];
      if (z) lines.push([z.label, z.raw[index]]);
      if (this.values && ![x.name, y.name, z?.name].includes(this.column.name)) lines.push([withUnit(this.column), this.values[index]]);
      const shown = (label, value) => (this.column && label === withUnit(this.column) && this.column.kind === "category" ? this.column.categories?.[value] ?? value : figure(value));
      this.tip.replaceChildren(
        h("strong", { text: `Particle ${index}` }),
        ...lines.map(([label, value]) => h("div", {}, h("span", { text: label }), h("span", { text: shown(label, value) }))),
      );
      const box = this.stage.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      this.tip.style.left = `${Math.min(px + 14, box.width - 190)}px`;
      this.tip.style.top = `${Math.min(py + 14, box.height - 110)}px`;
    }
    this.dispatchEvent(new CustomEvent("hover", { detail: { index } }));
  }
}
