"""A picture of the CTF parameters of a particle set."""

import os

import jax.numpy as jnp
import numpy as np

from vitreous.files import atomic_path
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf


def plot_ctf(path: str | os.PathLike, ctf: CTFParameters, pixel_size: float) -> None:
    """Plot defocus, astigmatism, and the CTF at the least, median and greatest defocus.

    **Arguments:** `pixel_size` in Å sets the highest frequency shown (Nyquist).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    u, v = np.asarray(ctf.defocus_u), np.asarray(ctf.defocus_v)
    mean = 0.5 * (u + v)
    order = np.argsort(mean)
    chosen = order[[0, len(order) // 2, -1]]
    k = np.linspace(0, 0.5 / pixel_size, 1000, dtype=np.float32)
    frequency = jnp.stack([k, 0 * k], axis=-1)
    curves = evaluate_ctf(frequency, CTFParameters(*(np.asarray(f)[chosen] for f in ctf)))

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 2))
    left.hist(mean / 1e4, bins=40)
    left.set(xlabel="defocus (µm)", ylabel="particles")
    middle.hist(np.abs(u - v), bins=40)
    middle.set(xlabel="astigmatism (Å)")
    for curve, row in zip(np.asarray(curves), chosen, strict=True):
        right.plot(k, curve, lw=0.8, label=f"{mean[row] / 1e4:.2f} µm")
    right.axhline(0, color="0.7", lw=0.5)
    right.set(xlabel="spatial frequency (1/Å)", ylabel="CTF along x", xlim=(0, k[-1]))
    right.legend(title="defocus", loc="upper right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
