"""Time the ways to draw Gaussians, forth and back: milliseconds an image, with the gradient.

python benchmarks/flexible.py --test rendering [--largest 256] [-o FILE]
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import print_table

from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.rendering import Renderer

# Box, outermost shell and number of Gaussians that are drawn; bounds of their widths, Å.
RENDERED = (
    *(
        (box, shell, count)
        for box, shell in ((32, 11), (64, 20), (128, 40))
        for count in (500, 5000)
    ),
    (256, 80, 30000),
)
WIDTHS = (2.0, 8.0)


def rendering(most: int) -> list[dict[str, Any]]:
    """Time the ways to draw Gaussians, forth and back, in boxes up to some size."""
    rows: list[dict[str, Any]] = []
    for box, shell, count in RENDERED:
        if box > most:
            continue
        rng = np.random.default_rng(0)
        points = jnp.asarray(rng.normal(size=(count, 3)) * box * 0.4, jnp.float32)
        model = GaussianModel.of(points, np.ones(count), np.full(count, 4.0))
        ways = {
            how: time_drawing(Renderer(box, 3.0, shell, WIDTHS, how), model)  # type: ignore[arg-type]
            for how in ("separable", "spread", "nufft")
        }
        chosen, exact = Renderer(box, 3.0, shell, WIDTHS).chosen(count), ways["separable"][0]
        fastest = min(spent for _, spent in ways.values())
        rows += [
            {
                "box": box,
                "shell": shell,
                "gaussians": count,
                "method": how,
                "ms_an_image": round(1e3 * spent, 3),
                "of_fastest": round(spent / fastest, 2),
                "error": float(np.abs(drawn - exact).max() / np.abs(exact).max()),
                "chosen": chosen == how,
            }
            for how, (drawn, spent) in ways.items()
        ]
    print_table(rows, list(rows[0]))
    worst = max(row["of_fastest"] for row in rows if row["chosen"])
    print(f"the way chosen takes at most {worst:.2f} times as long as the fastest")
    return rows


def time_drawing(
    renderer: Renderer, model: GaussianModel, images: int = 4, times: int = 2
) -> tuple[np.ndarray, float]:
    """Draw, and differentiate by places; returns images, and processor seconds of one image."""
    turn = jnp.broadcast_to(jnp.eye(3), (images, 3, 3))
    moved = jnp.zeros((images, len(model), 3))

    def power(moved):
        drawn = renderer(model.atoms(moved), turn)
        return jnp.sum(drawn.real**2 + drawn.imag**2), drawn

    slope = jax.jit(jax.grad(power, has_aux=True))
    drawn = jax.block_until_ready(slope(moved))[1]
    began = time.process_time()
    for _ in range(times):
        jax.block_until_ready(slope(moved))
    return np.asarray(drawn), (time.process_time() - began) / (images * times)
