"""FSC curves as text tables (the layout cryoDRGN users know) and as a picture."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.files import atomic_path, write_text
from vitreous.reconstruction.fsc import resolution

Curves = dict[str, np.ndarray]


def write_curves(path: str | Path, curves: Curves, box: int) -> None:
    """Write curves as columns beside `pixres`, the frequency in cycles/pixel.

    One curve named `fsc` gives the peer's `pixres fsc`; the curves of `masked_curves` give its
    `pixres NoMask Spherical Loose Tight Corrected`.
    """
    columns = [np.arange(len(next(iter(curves.values())))) / box, *curves.values()]
    lines = [" ".join(["pixres", *curves])]
    lines += [" ".join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def read_curves(path: str | Path) -> tuple[Float[np.ndarray, " shells"], Curves]:
    """Read a table of `write_curves`: frequencies in cycles/pixel, and the curves by name.

    **Raises:** `InputError` if the file is not such a table.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    names = lines[0].split() if lines else []
    if len(names) < 2 or names[0] != "pixres":
        raise InputError(f"{path}: no FSC table; its first line must name 'pixres' and a curve")
    try:
        values = np.array([[float(word) for word in line.split()] for line in lines[1:]])
        columns = dict(zip(names, values.reshape(-1, len(names)).T, strict=True))
    except ValueError as error:
        raise InputError(f"{path}: every row needs {len(names)} numbers ({error})") from error
    return columns.pop("pixres"), columns


def plot_curves(
    path: str | Path, curves: Curves, voxel_size: float | None, box: int, title: str = ""
) -> None:
    """Draw curves over spatial frequency with the 0.5 and 0.143 lines and their crossings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6))
    # Fixed margins: finding them would take as long as drawing.
    figure.subplots_adjust(left=0.09, right=0.93, bottom=0.12, top=0.83 if title else 0.89)
    draw_curves(figure.subplots(), curves, voxel_size, box)
    if title:
        figure.axes[0].set_title(title, loc="left", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_curves(axes, curves: Curves, voxel_size: float | None, box: int) -> None:
    """Draw curves into matplotlib axes; without a voxel size the axis is in cycles/pixel."""
    size = voxel_size or 1.0
    unit = "Å" if voxel_size else "pixels"
    colours = ["#1b6ca8", "#9aa5b1", "#5fa777", "#e0872b", "#b8336a"]
    for i, (name, curve) in enumerate(curves.items()):
        if len(curves) == 1:
            label = f"0.5: {resolution(curve, size, 0.5, box):.2f} {unit}"
            label += f"   0.143: {resolution(curve, size, 0.143, box):.2f} {unit}"
        else:
            label = f"{name}  {resolution(curve, size, 0.143, box):.2f} {unit}"
        frequency = np.arange(len(curve)) / (box * size)
        axes.plot(frequency, curve, color=colours[i % len(colours)], lw=2, label=label)
    for threshold in (0.5, 0.143):
        axes.axhline(threshold, color="#444444", lw=0.7, ls=(0, (4, 3)))
        axes.annotate(
            f"{threshold:g}",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    lowest = min(float(np.nanmin(curve)) for curve in curves.values())
    axes.set(xlim=(0, 0.5 / size), ylim=(min(-0.05, lowest - 0.02), 1.03))
    axes.set(xlabel=f"spatial frequency (1/{unit})", ylabel="Fourier shell correlation")
    ticks = [t for t in axes.get_xticks() if 0 < t <= 0.5 / size]
    top = axes.secondary_xaxis("top")
    top.set_xticks(ticks, [f"{1 / t:.3g}" for t in ticks], fontsize=8)
    top.set_xlabel(f"resolution ({unit})", fontsize=8)
    axes.spines[["right"]].set_visible(False)
    title = None if len(curves) == 1 else "at FSC = 0.143"
    axes.legend(fontsize=9, title=title, title_fontsize=9, edgecolor="none", framealpha=0.9)
