// Free-hand drawing over the plot: a lasso (closed) or a path (open), as an SVG overlay, so the
// points beneath need not be drawn again while the hand moves.

import { svg } from "../core/dom.js";

/** Follow the pointer from `event` on; resolves with plot positions in pixels, or null. */
export function drawFreehand(overlay, event, { closed }) {
  const box = overlay.getBoundingClientRect();
  const points = [[event.clientX - box.left, event.clientY - box.top]];
  const line = svg(closed ? "polygon" : "polyline", { class: closed ? "lasso" : "path-draft" });
  overlay.append(line);
  overlay.setPointerCapture(event.pointerId);
  return new Promise((resolve) => {
    const move = (next) => {
      // Browsers merge pointer events between frames; the hand's true line has them all.
      for (const e of next.getCoalescedEvents?.() || [next]) {
        const at = [e.clientX - box.left, e.clientY - box.top];
        const [px, py] = points[points.length - 1];
        if (Math.hypot(at[0] - px, at[1] - py) >= 3) points.push(at);
      }
      line.setAttribute("points", points.map((p) => p.join(",")).join(" "));
    };
    const end = (result) => {
      overlay.removeEventListener("pointermove", move);
      overlay.removeEventListener("pointerup", up);
      overlay.removeEventListener("pointercancel", cancel);
      window.removeEventListener("keydown", escape);
      line.remove();
      resolve(result);
    };
    const up = () => end(points.length >= (closed ? 3 : 2) ? simplify(points) : null);
    const cancel = () => end(null);
    const escape = (e) => e.key === "Escape" && end(null);
    overlay.addEventListener("pointermove", move);
    overlay.addEventListener("pointerup", up);
    overlay.addEventListener("pointercancel", cancel);
    window.addEventListener("keydown", escape);
  });
}

/** Thin a long line to at most 200 points: the rule travels in a command line. */
function simplify(points) {
  const step = Math.ceil(points.length / 200);
  return points.filter((_, i) => i % step === 0);
}
