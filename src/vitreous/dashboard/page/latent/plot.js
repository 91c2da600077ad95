// The scatter: a canvas of points, a camera, and what the hand does on it. Knows nothing of runs.

import { FlatCamera, OrbitCamera } from "./camera.js";
import { drawFreehand } from "./lasso.js";
import { PointRaster } from "./raster.js";
import { PointRenderer, isSoftware } from "./renderer.js";
import { h, svg } from "../core/dom.js";

const IDLE = 160; // ms after the last movement before every point is drawn again
const SLOW = 30; // ms a frame may take before fewer points are drawn while moving
const FEWEST = 32; // at worst every 32nd point is drawn while moving

/** A freshly made renderer: WebGL 2 on a graphics card, else the processor's. */
function chooseRenderer(host, wanted) {
  const canvas = () => h("canvas", { class: "points" });
  let node = canvas();
  if (wanted !== "processor") {
    const renderer = PointRenderer.create(node);
    if (renderer && (wanted === "webgl" || !isSoftware(renderer.gl))) {
      host.append(node);
      return { renderer, reason: "" };
    }
    const reason = renderer
      ? "No graphics card: the processor draws the points"
      : "No WebGL 2: the processor draws the points";
    renderer?.gl.getExtension("WEBGL_lose_context")?.loseContext();
    node = canvas();
    host.append(node);
    return { renderer: new PointRaster(node), reason };
  }
  host.append(node);
  return { renderer: new PointRaster(node), reason: "The processor draws the points, as asked" };
}

/** Events: "lasso" and "path" ({points} in axis fractions), "pick" ({index, x, y}), "hover", "view". */
export class PointPlot extends EventTarget {
  constructor(host, { renderer: wanted } = {}) {
    super();
    this.host = host;
    Object.assign(this, chooseRenderer(host, wanted));
    this.canvas = this.renderer.canvas;
    this.canvas.addEventListener("webglcontextlost", () => this.#replace());
    this.overlay = svg("svg", { class: "overlay" });
    host.append(this.overlay);
    this.flat = new FlatCamera();
    this.orbit = new OrbitCamera();
    this.solid = false;
    this.tool = "pan";
    this.pointScale = 1;
    this.every = 1;
    this.late = this.lazy = 0;
    this.moving = false;
    this.marked = false;
    this.muted = [0.5, 0.5, 0.55, 0.25];
    this.drawTimes = [];
    this.#listen();
    new ResizeObserver(() => this.resize()).observe(host);
  }

  // A graphics card that gives up (sleep, driver, memory) leaves the points to the processor.
  #replace() {
    const { x, y, z, style, palette } = this;
    const canvas = h("canvas", { class: "points" });
    this.canvas.replaceWith(canvas);
    this.canvas = canvas;
    this.renderer = new PointRaster(canvas);
    this.reason = "Graphics lost: the processor draws the points";
    if (x) this.renderer.setPositions(x, y, z);
    if (style) this.renderer.setStyle(style);
    if (palette) this.renderer.setPalette(palette);
    this.redraw();
  }

  get camera() {
    return this.solid ? this.orbit : this.flat;
  }

  /** Positions as fractions (−1…1 spans the axis), `z` null for a flat plot. */
  setPositions(x, y, z) {
    Object.assign(this, { x, y, z, solid: z !== null });
    this.renderer.setPositions(x, y, z);
    this.redraw();
  }

  setStyle(style, marked) {
    Object.assign(this, { style, marked });
    this.renderer.setStyle(style);
    this.redraw();
  }

  setPalette(bytes, muted) {
    Object.assign(this, { palette: bytes, muted });
    this.renderer.setPalette(bytes);
    this.redraw();
  }

  resize() {
    this.redraw();
  }

  // Before each frame: the layout may have changed since the last one was asked for.
  #fit() {
    const { clientWidth, clientHeight } = this.host;
    // The processor's raster pays by the pixel.
    this.ratio = this.renderer instanceof PointRaster ? 1 : Math.min(2, devicePixelRatio || 1);
    const [width, height] = [clientWidth, clientHeight].map((side) => Math.round(side * this.ratio));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.orbit.aspect = clientWidth / (clientHeight || 1);
    return width > 0 && height > 0;
  }

  /** Ask for a frame; many asks before the next one make one frame. */
  redraw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame((time) => {
      this.pending = 0;
      this.#frame(time);
    });
  }

  // Fewer points while moving when frames come late, more again when there is time to spare.
  // The processor's cost is its own time; the graphics card's shows only in the frames' pace.
  #adapt(time) {
    const own = this.renderer instanceof PointRaster;
    const took = own ? this.drawTimes.at(-1) * 1.4 : this.lastFrame ? time - this.lastFrame : 0;
    this.lastFrame = this.moving ? time : 0;
    if (!took || !this.moving) return;
    if (took > SLOW) {
      this.lazy = 0;
      if (++this.late < 2) return;
      this.late = 0;
      const needed = this.every * Math.min(8, 2 ** Math.ceil(Math.log2(took / SLOW)));
      this.every = Math.min(FEWEST, needed);
    } else if (took < SLOW * 0.6 && this.every > 1 && ++this.lazy > 45) {
      this.lazy = this.late = 0;
      this.every /= 2;
    }
  }

  #frame(time) {
    if (!this.x || !this.#fit()) return;
    this.#adapt(time);
    const began = performance.now();
    const n = this.x.length;
    const size = this.pointSize();
    const every = this.moving ? this.every : 1;
    // Opacity falls as points crowd the window, so that structure shows at any number of them.
    const shown = n / every / Math.max(0.25, this.camera.zoom ** 2);
    const cover = (shown * size * size) / (this.canvas.width * this.canvas.height * 0.25);
    this.renderer.draw({
      view: this.camera.matrix(),
      size: size * this.ratio,
      alpha: Math.min(0.85, Math.max(0.07, 0.7 / Math.sqrt(cover + 0.2))),
      marked: this.marked,
      muted: this.muted,
      solid: this.solid,
      every,
    });
    this.drawTimes.push(performance.now() - began);
    if (this.drawTimes.length > 240) this.drawTimes.shift();
    this.dispatchEvent(new CustomEvent("view"));
  }

  pointSize() {
    const n = this.x?.length || 1;
    const natural = n > 300000 ? 1.5 : n > 50000 ? 2.2 : n > 5000 ? 3.5 : 5.5;
    return natural * this.pointScale * Math.min(3, Math.max(1, this.camera.zoom ** 0.35));
  }

  /** Remember that the view moves; once it rests, draw all points. */
  touch() {
    this.moving = true;
    clearTimeout(this.idle);
    this.idle = setTimeout(() => {
      this.moving = false;
      this.redraw();
    }, IDLE);
    this.redraw();
  }

  /** Pointer → clip coordinates, −1…1 with y up. */
  clip(event) {
    const box = this.host.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2];
  }

  /** Axis fractions → pixels of the plot; null when behind the eye. */
  project(x, y, z = 0) {
    const m = this.camera.matrix();
    const w = this.solid ? m[3] * x + m[7] * y + m[11] * z + m[15] : 1;
    if (w <= 0) return null;
    const cx = (m[0] * x + m[4] * y + (this.solid ? m[8] * z : 0) + m[12]) / w;
    const cy = (m[1] * x + m[5] * y + (this.solid ? m[9] * z : 0) + m[13]) / w;
    return [(cx * 0.5 + 0.5) * this.host.clientWidth, (0.5 - cy * 0.5) * this.host.clientHeight];
  }

  /** The particle nearest to clip coordinates within `reach` pixels, or −1. */
  nearest(cx, cy, reach = 14) {
    const { x, y, z, solid } = this;
    if (!x) return -1;
    const m = this.camera.matrix();
    const wide = this.host.clientWidth / 2;
    const tall = this.host.clientHeight / 2;
    let best = -1;
    let least = reach * reach;
    for (let i = 0; i < x.length; i++) {
      let px = m[0] * x[i] + m[4] * y[i] + m[12];
      let py = m[1] * x[i] + m[5] * y[i] + m[13];
      if (solid) {
        const w = m[3] * x[i] + m[7] * y[i] + m[11] * z[i] + m[15];
        px = (px + m[8] * z[i]) / w;
        py = (py + m[9] * z[i]) / w;
      }
      const dx = (px - cx) * wide;
      const dy = (py - cy) * tall;
      const far = dx * dx + dy * dy;
      if (far < least) {
        least = far;
        best = i;
      }
    }
    return best;
  }

  reset() {
    this.camera.reset();
    this.touch();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #listen() {
    const node = this.overlay;
    node.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    node.addEventListener("pointerdown", (event) => this.#down(event));
    node.addEventListener("dblclick", () => this.reset());
    node.addEventListener("pointermove", (event) => {
      if (event.buttons || this.tool !== "pan") return;
      this.hoverAt = event;
      // One look-up a frame: it runs over every point.
      this.hovering ||= requestAnimationFrame(() => {
        this.hovering = 0;
        const index = this.moving ? -1 : this.nearest(...this.clip(this.hoverAt));
        this.#tell("hover", { index, event: this.hoverAt });
      });
    });
    node.addEventListener("pointerleave", () => this.#tell("hover", { index: -1 }));
  }

  #wheel(event) {
    event.preventDefault();
    this.camera.zoomAt(Math.exp(-event.deltaY * 0.0016), ...this.clip(event));
    this.touch();
  }

  async #down(event) {
    if (event.button !== 0) return;
    const free = !this.solid && (this.tool === "lasso" || this.tool === "draw");
    if (free) {
      const modifiers = { shift: event.shiftKey, alt: event.altKey };
      const points = await drawFreehand(this.overlay, event, { closed: this.tool === "lasso" });
      if (points) this.#tell(this.tool === "lasso" ? "lasso" : "path", { points: points.map((p) => this.#fraction(p)), ...modifiers });
      return;
    }
    this.#drag(event);
  }

  #fraction([px, py]) {
    return this.flat.inverse((px / this.host.clientWidth) * 2 - 1, 1 - (py / this.host.clientHeight) * 2);
  }

  #drag(start) {
    const node = this.overlay;
    node.setPointerCapture(start.pointerId);
    let [lastX, lastY] = [start.clientX, start.clientY];
    let moved = 0;
    const move = (event) => {
      const [dx, dy] = [event.clientX - lastX, event.clientY - lastY];
      [lastX, lastY] = [event.clientX, event.clientY];
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved < 4) return;
      this.camera.pan(dx / this.host.clientWidth, dy / this.host.clientHeight);
      this.touch();
    };
    const up = (event) => {
      node.removeEventListener("pointermove", move);
      node.removeEventListener("pointerup", up);
      node.removeEventListener("pointercancel", up);
      if (moved >= 4 || event.type === "pointercancel") return;
      const [cx, cy] = this.clip(event);
      this.#tell("pick", { index: this.nearest(cx, cy), at: this.flat.inverse(cx, cy), alt: event.altKey });
    };
    node.addEventListener("pointermove", move);
    node.addEventListener("pointerup", up);
    node.addEventListener("pointercancel", up);
  }
}
