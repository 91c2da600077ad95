// Three slices through a volume, on plain canvases: they need no WebGL.

import { h } from "../core/dom.js";

const NAMES = ["z", "y", "x"];

function paint(canvas, volume, axis, index, [low, high]) {
  const { nx, ny, nz, values } = volume;
  const [width, height] = axis === 0 ? [nx, ny] : axis === 1 ? [nx, nz] : [ny, nz];
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const scale = 255 / (high - low || 1);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [i, j, k] = axis === 0 ? [column, row, index] : axis === 1 ? [column, index, row] : [index, column, row];
      const grey = (values[(k * ny + j) * nx + i] - low) * scale;
      // Rows grow with +y: the first row is drawn lowest.
      const at = 4 * ((height - 1 - row) * width + column);
      image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** A pane with one slice along each axis and a slider beneath it. */
export class Slices {
  constructor(host) {
    this.parts = NAMES.map((name, axis) => {
      const canvas = h("canvas", { class: "slice", role: "img", "aria-label": `Slice along ${name}` });
      const slider = h("input", { type: "range", min: 0, "aria-label": `Position along ${name}`, oninput: () => {
        this.#draw(axis);
        this.onmove?.(axis, slider.value);
      } });
      const caption = h("span");
      host.append(h("figure", {}, canvas, h("figcaption", {}, caption, slider)));
      return { canvas, slider, caption };
    });
  }

  /** Show a volume; positions are kept while the box stays the same. */
  setVolume(volume, { mean, sigma, low, high }) {
    const fresh = this.volume?.nx !== volume.nx;
    this.volume = volume;
    this.grey = [Math.max(low, mean - 2 * sigma), Math.min(high, mean + 8 * sigma)];
    this.parts.forEach(({ slider }, axis) => {
      const n = [volume.nz, volume.ny, volume.nx][axis];
      slider.max = n - 1;
      if (fresh) slider.value = n >> 1;
      this.#draw(axis);
    });
  }

  /** Move one slice, as if by its slider. */
  move(axis, index) {
    this.parts[axis].slider.value = index;
    if (this.volume) this.#draw(axis);
  }

  #draw(axis) {
    const { canvas, slider, caption } = this.parts[axis];
    const index = Number(slider.value);
    paint(canvas, this.volume, axis, index, this.grey);
    caption.textContent = `${NAMES[axis]} ${index}`;
  }
}
