// Numbers and categories → one byte a particle and a palette of 256 colours.
// Byte 0 is "missing"; numbers use 1…255, categories their index + 1, repeating after twelve.

const STOPS = {
  viridis: ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  plasma: ["0d0887", "46039f", "7201a8", "9c179e", "bd3786", "d8576b", "ed7953", "fb9f3a", "fdca26", "f0f921"],
  coolwarm: ["3b4cc0", "6788ee", "9abbff", "c9d7f0", "edd1c2", "f7a889", "e26952", "b40426"],
  // For angles: the two ends meet.
  cyclic: ["5b3495", "4b7ab8", "79b3c1", "d9d3c4", "d99a7a", "b0524f", "7a2a5b", "5b3495"],
};

// Okabe and Ito's eight without black, then four of Tol's: told apart with any colour vision.
const CATEGORIES = [
  "0072b2", "e69f00", "009e73", "d55e00", "cc79a7", "56b4e9",
  "b8a200", "882255", "44aa99", "999933", "6f4fb0", "aa4466",
];

export const PALETTES = Object.keys(STOPS);

const rgb = (hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));

/** The colour of a category, as CSS. */
export const categoryColour = (index) => `#${CATEGORIES[index % CATEGORIES.length]}`;

/** A CSS gradient of a palette, for the colour bar. */
export const gradient = (name) => `linear-gradient(to right, ${STOPS[name].map((c) => `#${c}`).join(", ")})`;

/** 256 RGBA colours; `missing` is the RGB of points without a value. */
export function paletteBytes(kind, name, missing) {
  const out = new Uint8Array(1024);
  out.set([...missing, 255], 0);
  const stops = STOPS[name].map(rgb);
  for (let i = 1; i < 256; i++) {
    let colour;
    if (kind === "category") colour = rgb(CATEGORIES[(i - 1) % CATEGORIES.length]);
    else {
      const at = ((i - 1) / 254) * (stops.length - 1);
      const k = Math.min(stops.length - 2, Math.floor(at));
      colour = stops[k].map((c, j) => Math.round(c + (at - k) * (stops[k + 1][j] - c)));
    }
    out.set([...colour, 255], 4 * i);
  }
  return out;
}

/** The range that the colours span: 0.5th to 99.5th percentile, so that outliers do not flatten it. */
export function robustRange(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sample.push(values[i]);
  if (!sample.length) return [0, 1];
  sample.sort((a, b) => a - b);
  const pick = (q) => sample[Math.min(sample.length - 1, Math.floor(q * sample.length))];
  const [low, high] = [pick(0.005), pick(0.995)];
  return low < high ? [low, high] : [low - 0.5, low + 0.5];
}

/** Write the colour bytes of a column into `style` (four bytes a particle, the first is ours). */
export function writeColours(style, values, kind, [low, high]) {
  const n = values ? values.length : style.length / 4;
  if (!values) for (let i = 0; i < n; i++) style[4 * i] = 1;
  else if (kind === "category") for (let i = 0; i < n; i++) style[4 * i] = (values[i] % 252) + 1;
  else {
    const scale = 254 / (high - low);
    for (let i = 0; i < n; i++) {
      const level = (values[i] - low) * scale;
      // NaN fails both comparisons and stays 0: missing.
      style[4 * i] = level >= 254 ? 255 : level >= 0 ? 1 + level : level < 0 ? 1 : 0;
    }
  }
}
