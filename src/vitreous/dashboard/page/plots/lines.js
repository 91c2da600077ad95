// Line plots as SVG: training curves and Fourier shell correlations.

import { h, svg } from "../core/dom.js";
import { tickText, ticks } from "../latent/axes.js";

const SIZE = { width: 420, height: 190, left: 40, right: 10, top: 8, bottom: 30 };

const span = (values) => {
  const finite = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
};

/**
 * A plot of `series` [{name, points: [[x, y]…]}]; `levels` are dashed lines with a label,
 * `xText` words a tick of x, `yRange` fixes the vertical span.
 */
export function linePlot(series, { title, xLabel, yRange, levels = [], xText } = {}) {
  const { width, height, left, right, top, bottom } = SIZE;
  const all = series.flatMap((s) => s.points).filter((p) => p.every(Number.isFinite));
  if (!all.length) return h("figure", { class: "plot" }, h("figcaption", { text: `${title}: nothing yet` }));
  const [x0, x1] = span(all.map((p) => p[0]));
  const [y0, y1] = yRange || span(all.map((p) => p[1]));
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => top + (1 - (y - y0) / (y1 - y0)) * (height - top - bottom);
  const parts = [];
  const text = (x, y, label, anchor) => svg("text", { x, y, "text-anchor": anchor, class: "tick" }, document.createTextNode(label));
  const [across, up] = [ticks(x0, x1, 4), ticks(y0, y1, 4)];
  const [nameX, nameY] = [xText || tickText(across), tickText(up)];
  for (const t of up) {
    parts.push(svg("line", { x1: left, x2: width - right, y1: py(t), y2: py(t), class: "grid" }), text(left - 6, py(t) + 3.5, nameY(t), "end"));
  }
  for (const t of across) parts.push(text(px(t), height - bottom + 15, nameX(t), "middle"));
  for (const level of levels) {
    parts.push(svg("line", { x1: left, x2: width - right, y1: py(level.value), y2: py(level.value), class: "level" }));
    parts.push(text(width - right - 2, py(level.value) - 4, level.label, "end"));
  }
  series.forEach((s, k) => {
    const points = s.points.filter((p) => p.every(Number.isFinite));
    if (points.length === 1) parts.push(svg("circle", { cx: px(points[0][0]), cy: py(points[0][1]), r: 2.5, class: `series-dot series-${k % 4}` }));
    else parts.push(svg("polyline", { points: points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" "), class: `series series-${k % 4}` }));
  });
  if (xLabel) parts.push(text(width - right, height - 3, xLabel, "end"));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...parts);
  const names = series.length > 1 ? series.map((s, k) => h("span", { class: `key series-${k % 4}`, text: s.name })) : [];
  return h("figure", { class: "plot" }, h("figcaption", {}, h("b", { text: title }), ...names), drawing);
}
