// The same points by the processor, for browsers without WebGL 2 or with a software one:
// hits are counted per pixel and turned into opacity once, so a million points stay fluid.

const LEVELS = 64;

/** The pixels of a point, as offsets from its first: a square when small, a disc when large. */
function stamp(side, width) {
  const offsets = [];
  const middle = (side - 1) / 2;
  for (let b = 0; b < side; b++) {
    for (let a = 0; a < side; a++) {
      if (side < 4 || Math.hypot(a - middle, b - middle) <= side / 2) offsets.push(b * width + a);
    }
  }
  return Int32Array.from(offsets);
}

/** Draws points on a canvas with plain loops; the same face as PointRenderer. */
export class PointRaster {
  constructor(canvas) {
    this.name = "processor";
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.number = 0;
    this.colours = new Uint8Array(1024);
  }

  setPositions(x, y, z) {
    Object.assign(this, { x, y, z, number: x.length });
  }

  setStyle(style) {
    this.style = style;
  }

  setPalette(bytes) {
    this.colours = bytes;
  }

  draw(frame) {
    const { width, height } = this.canvas;
    if (!width || !height) return;
    this.#prepare(width, height);
    if (this.number && frame.solid && this.z) this.#splatSolid(frame, width, height);
    else if (this.number) this.#splatFlat(frame, width, height);
    this.#resolve(frame);
    this.context.putImageData(this.image, 0, 0);
  }

  #prepare(width, height) {
    if (this.image?.width !== width || this.image?.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.hits = new Uint8Array(width * height);
      this.colour = new Uint16Array(width * height);
      this.depth = new Float32Array(width * height);
    }
    this.hits.fill(0);
  }

  // Colour 0…255 is the palette's, 256 the muted one of points outside the selection, which
  // never cover a selected one.
  #splatFlat({ view: m, size, marked, every }, width, height) {
    const { x, y, style, hits, colour, number } = this;
    const side = Math.max(1, Math.floor(size));
    const pixels = stamp(side, width);
    const [ax, bx] = [m[0] * 0.5 * width, (m[12] * 0.5 + 0.5) * width - (side >> 1)];
    const [ay, by] = [-m[5] * 0.5 * height, (0.5 - m[13] * 0.5) * height - (side >> 1)];
    const [right, low] = [width - side + 1, height - side + 1];
    for (let i = 0; i < number; i += every) {
      const column = x[i] * ax + bx;
      const row = y[i] * ay + by;
      // Written so that a missing position (NaN) is refused too.
      if (!(column >= 0 && column < right && row >= 0 && row < low)) continue;
      const isMuted = marked && style[4 * i + 1] === 0;
      const shade = isMuted ? 256 : style[4 * i];
      const first = (row | 0) * width + (column | 0);
      for (let k = 0; k < pixels.length; k++) {
        const at = first + pixels[k];
        const n = hits[at];
        if (isMuted && n !== 0 && colour[at] !== 256) continue;
        if (n < LEVELS - 1) hits[at] = n + 1;
        colour[at] = shade;
      }
    }
  }

  // The nearest point gives its colour; the number of hits the opacity.
  #splatSolid({ view: m, size, marked, every }, width, height) {
    const { x, y, z, style, hits, colour, depth, number } = this;
    const side = Math.max(1, Math.round(size));
    const pixels = stamp(side, width);
    depth.fill(Infinity);
    for (let i = 0; i < number; i += every) {
      const [px, py, pz] = [x[i], y[i], z[i]];
      const far = m[3] * px + m[7] * py + m[11] * pz + m[15];
      const column = (((m[0] * px + m[4] * py + m[8] * pz + m[12]) / far) * 0.5 + 0.5) * width;
      const row = (0.5 - ((m[1] * px + m[5] * py + m[9] * pz + m[13]) / far) * 0.5) * height;
      if (!(far > 0 && column >= 0 && column < width - side && row >= 0 && row < height - side)) continue;
      const isMuted = marked && style[4 * i + 1] === 0;
      const shade = isMuted ? 256 : style[4 * i];
      const first = (row | 0) * width + (column | 0);
      for (let k = 0; k < pixels.length; k++) {
        const at = first + pixels[k];
        const covers = colour[at] === 256 && !isMuted && hits[at] > 0;
        if (far > depth[at] && !covers) continue;
        if (isMuted && hits[at] > 0 && colour[at] !== 256) continue;
        depth[at] = far;
        if (hits[at] < LEVELS - 1) hits[at]++;
        colour[at] = shade;
      }
    }
  }

  #resolve({ alpha, muted, marked, solid }) {
    const table = new Uint32Array(LEVELS);
    const faint = new Uint32Array(LEVELS);
    const strong = marked ? Math.max(alpha, 0.55) : solid ? Math.max(alpha, 0.7) : alpha;
    for (let n = 1; n < LEVELS; n++) {
      table[n] = Math.round(255 * (1 - (1 - strong) ** n));
      faint[n] = Math.round(255 * Math.min(0.55, 1 - (1 - alpha * muted[3]) ** n));
    }
    const grey =
      (Math.round(255 * muted[2]) << 16) | (Math.round(255 * muted[1]) << 8) | Math.round(255 * muted[0]);
    const { hits, colour, pixels, colours } = this;
    const palette = new Uint32Array(257);
    for (let c = 0; c < 256; c++) {
      palette[c] = (colours[4 * c + 2] << 16) | (colours[4 * c + 1] << 8) | colours[4 * c];
    }
    palette[256] = grey;
    for (let at = 0; at < pixels.length; at++) {
      const n = hits[at];
      if (n === 0) pixels[at] = 0;
      else {
        const c = colour[at];
        pixels[at] = (palette[c] | ((c === 256 ? faint[n] : table[n]) << 24)) >>> 0;
      }
    }
  }
}
