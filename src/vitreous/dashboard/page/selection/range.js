// A range of one column: two thumbs over a small histogram, and the two numbers to type.

import { figure, h, svg } from "../core/dom.js";

const BINS = 48;
const STEPS = 400;

function histogram(values, low, high) {
  const bins = new Float64Array(BINS);
  const scale = BINS / (high - low || 1);
  for (const v of values) if (v >= low && v <= high) bins[Math.min(BINS - 1, ((v - low) * scale) | 0)]++;
  // Roots, so that rare values are seen too.
  const tallest = Math.sqrt(Math.max(...bins)) || 1;
  return Array.from(bins, (n) => Math.sqrt(n) / tallest);
}

/** The control for a range rule; `onchange(low, high, more)`: `more` when the same drag goes on. */
export function rangeControl(column, values, span, current, onchange) {
  const [low, high] = span;
  const at = (value) => Math.round(((value - low) / (high - low || 1)) * STEPS);
  const value = (step) => low + (step / STEPS) * (high - low);
  const bars = svg("svg", { class: "histogram", viewBox: `0 0 ${BINS} 20`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const rects = histogram(values, low, high).map((height, k) => svg("rect", { x: k + 0.08, width: 0.84, y: 20 - 20 * height, height: 20 * height }));
  bars.append(...rects);
  const thumb = (label, step) => h("input", { type: "range", min: 0, max: STEPS, value: step, "aria-label": `${column.label}: ${label}` });
  const box = (label, number) => h("input", { type: "text", inputMode: "decimal", value: figure(number).replace("\u2212", "-"), "aria-label": `${column.label}: ${label}` });
  const thumbs = [thumb("lowest", at(current.low)), thumb("highest", at(current.high))];
  const boxes = [box("lowest", current.low), box("highest", current.high)];
  let exact = [current.low, current.high];
  const paint = () => {
    for (const [k, rect] of rects.entries()) {
      const middle = low + ((k + 0.5) / BINS) * (high - low);
      rect.classList.toggle("in", middle >= exact[0] && middle <= exact[1]);
    }
  };
  let told = [...exact];
  let dragging = false;
  const tell = (done) => {
    clearTimeout(waiting);
    const isNew = exact.some((v, k) => v !== told[k]);
    told = [...exact];
    if (isNew) onchange(exact[0], exact[1], dragging);
    dragging = !done;
  };
  let waiting;
  thumbs.forEach((node, k) => {
    node.addEventListener("input", () => {
      const other = Number(thumbs[1 - k].value);
      const step = k === 0 ? Math.min(Number(node.value), other) : Math.max(Number(node.value), other);
      node.value = step;
      exact[k] = value(step);
      boxes[k].value = figure(exact[k]).replace("\u2212", "-");
      paint();
      clearTimeout(waiting);
      waiting = setTimeout(() => tell(false), 90);
    });
    node.addEventListener("change", () => tell(true));
  });
  boxes.forEach((node, k) => {
    node.addEventListener("change", () => {
      const typed = Number(node.value);
      if (!Number.isFinite(typed) || node.value.trim() === "") {
        node.value = figure(exact[k]).replace("\u2212", "-");
        return;
      }
      exact[k] = typed;
      thumbs[k].value = at(typed);
      paint();
      tell(true);
    });
  });
  paint();
  return h("div", { class: "range" }, bars, h("div", { class: "thumbs" }, ...thumbs), h("div", { class: "row ends" }, ...boxes));
}
