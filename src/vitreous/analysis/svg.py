"""Line charts as inline SVG: they scale, print, follow the page's colours and need no script."""

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Num

WIDTH, HEIGHT = 420.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 14.0, 14.0, 40.0


def line_chart(
    x: Num[np.ndarray, " p"],
    curves: dict[str, np.ndarray],
    x_label: str,
    title: str,
    y_range: tuple[float, float] | None = None,
    levels: Sequence[float] = (),
    has_markers: bool = False,
) -> str:
    """Draw curves over a common axis; CSS classes `line-0 …` give the colours.

    **Arguments:** `levels`: dashed horizontal lines, with their value. The title is also the
    text for those who cannot see the chart.
    """
    x = x.astype(np.float64)
    values = np.concatenate([np.asarray(c, np.float64) for c in curves.values()])
    values = values[np.isfinite(values)]
    low, high = y_range if y_range is not None else (float(values.min()), float(values.max()))
    if y_range is None:
        margin = 0.06 * (high - low) or 0.5 * abs(high) or 1
        low, high = low - margin, high + margin
    x_low, x_high = float(x.min()), float(x.max())
    x_span, y_span = (x_high - x_low) or 1.0, (high - low) or 1.0

    def place(a: float, b: float) -> tuple[float, float]:
        across = LEFT + (a - x_low) / x_span * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (b - low) / y_span * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>'
    ]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in nice_ticks(low, high):
        _, b = place(x_low, tick)
        parts += [_rule("grid", b), _text("tick", LEFT - 7, b + 3.5, "end", f"{tick:.6g}")]
    for tick in nice_ticks(x_low, x_high):
        a, _ = place(tick, low)
        parts.append(_text("tick", a, bottom + 16, "middle", f"{tick:.6g}"))
    for level in levels:
        _, b = place(x_low, level)
        parts += [_rule("level", b), _text("tick", right, b - 4, "end", f"{level:g}")]
    for i, curve in enumerate(curves.values()):
        points = [place(a, b) for a, b in zip(x, curve, strict=True) if np.isfinite(b)]
        text = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline class="line line-{i}" points="{text}"/>')
        if has_markers and len(points) <= 40:
            spots = (f'cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in points)
            parts += [f'<circle class="dot line-{i}" {spot}' for spot in spots]
    parts.append(_text("axis", (LEFT + right) / 2, HEIGHT - 6, "middle", escape(x_label)))
    return "".join(parts) + "</svg>"


def _rule(kind: str, y: float) -> str:
    return f'<line class="{kind}" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _text(kind: str, x: float, y: float, anchor: str, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """List round numbers between two values: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(round(i * step, 12)) + 0.0 for i in np.arange(first, last + 1)]
