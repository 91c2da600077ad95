// Tick marks along the plot's edges for the flat view, and a cube's edges for the one in depth.

import { svg } from "../core/dom.js";

/** Round tick values in an interval, about `wanted` of them. */
export function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  if (!(raw > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw);
  const out = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) out.push(k * step);
  return out;
}

/** Words ticks with as many decimals as their step needs. */
export function tickText(values) {
  const step = values.length > 1 ? values[1] - values[0] : Math.abs(values[0]) || 1;
  const largest = Math.max(...values.map(Math.abs));
  if (largest >= 1e5 || step < 1e-4) return (v) => (v === 0 ? "0" : v.toExponential(1).replace("-", "\u2212"));
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  return (v) => (Math.abs(v) < step / 2 ? 0 : v).toFixed(decimals).replace("-", "\u2212");
}

const text = (x, y, label, anchor, kind = "tick") =>
  svg("text", { x, y, "text-anchor": anchor, class: kind }, document.createTextNode(label));

function flatAxes(plot, axes, width, height) {
  const parts = [];
  const [left, bottom] = plot.flat.inverse(-1, -1);
  const [right, top] = plot.flat.inverse(1, 1);
  const value = (axis, fraction) => axis.middle + fraction * axis.half;
  const across = ticks(value(axes.x, left), value(axes.x, right), width / 110);
  const up = ticks(value(axes.y, bottom), value(axes.y, top), height / 80);
  const [nameX, nameY] = [tickText(across), tickText(up)];
  for (const tick of across) {
    const [px] = plot.project((tick - axes.x.middle) / axes.x.half, 0);
    if (px < 30 || px > width - 12) continue;
    parts.push(svg("line", { x1: px, x2: px, y1: 0, y2: height, class: "grid" }));
    parts.push(text(px, height - 6, nameX(tick), "middle"));
  }
  for (const tick of up) {
    const [, py] = plot.project(0, (tick - axes.y.middle) / axes.y.half);
    if (py < 14 || py > height - 24) continue;
    parts.push(svg("line", { x1: 0, x2: width, y1: py, y2: py, class: "grid" }));
    parts.push(text(6, py - 4, nameY(tick), "start"));
  }
  parts.push(text(width - 10, height - 22, axes.x.label, "end", "axis-name"));
  parts.push(text(10, 18, axes.y.label, "start", "axis-name"));
  return parts;
}

const CORNERS = [-1, 1].flatMap((x) => [-1, 1].flatMap((y) => [-1, 1].map((z) => [x, y, z])));

function solidAxes(plot, axes) {
  const parts = [];
  for (let i = 0; i < 8; i++) {
    for (let j = i + 1; j < 8; j++) {
      if (CORNERS[i].filter((c, k) => c !== CORNERS[j][k]).length !== 1) continue;
      const [a, b] = [plot.project(...CORNERS[i]), plot.project(...CORNERS[j])];
      if (a && b) parts.push(svg("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], class: "grid" }));
    }
  }
  const names = [
    [axes.x, [0, -1, -1]],
    [axes.y, [-1, 0, -1]],
    [axes.z, [-1, -1, 0]],
  ];
  for (const [axis, at] of names) {
    const p = axis && plot.project(...at.map((c) => c * 1.12));
    if (p) parts.push(text(p[0], p[1], axis.label, "middle", "axis-name"));
  }
  return parts;
}

/** Draw the axes anew into an SVG group. */
export function drawAxes(group, plot, axes) {
  const { clientWidth: width, clientHeight: height } = plot.host;
  group.replaceChildren(...(plot.solid ? solidAxes(plot, axes) : flatAxes(plot, axes, width, height)));
}
