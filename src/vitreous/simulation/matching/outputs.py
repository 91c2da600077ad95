"""What a search leaves behind: maps, a table of peaks, the histogram, a picture, a summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float, Float32

from vitreous.files import atomic_path, write_text
from vitreous.imaging.ctf import CTFParameters
from vitreous.simulation.matching.found import Match
from vitreous.simulation.matching.search import HISTOGRAM_START, HISTOGRAM_STEP
from vitreous.simulation.micrograph_files import (
    Micrograph,
    ctf_cells,
    optics_block,
    write_micrograph,
    write_table,
)


@dataclass(frozen=True, eq=False)
class Found:
    """Hold the peaks of one micrograph, one row each, best first.

    Fields: `place`: `(x, y)` in pixels from the corner. `angles`: RELION's. `ctf`: of the
    micrograph with each peak's own defocus, or None. `score`.
    """

    micrograph: Micrograph
    place: Float[np.ndarray, "p 2"]
    angles: Float[np.ndarray, "p 3"]
    ctf: CTFParameters | None
    score: Float[np.ndarray, " p"]


def found_particles(micrograph: Micrograph, match: Match) -> Found:
    """Look up angles and defocus of each peak."""
    at = tuple(match.peaks.T)
    offset = match.best_offset()[at]
    ctf = None
    if micrograph.ctf is not None:
        same = np.ones(len(offset), np.float32)
        ctf = CTFParameters(*(np.asarray(field) * same for field in micrograph.ctf))
        ctf = ctf._replace(defocus_u=ctf.defocus_u + offset, defocus_v=ctf.defocus_v + offset)
    angles = np.stack([angle[at] for angle in match.best_angles()], axis=-1)
    return Found(
        micrograph,
        match.places[:, ::-1].copy(),
        angles.astype(np.float64),
        ctf,
        match.score[at].astype(np.float64),
    )


def write_maps(match: Match, folder: Path, pixel_size: float, has_ctf: bool) -> None:
    """Write the maps of one micrograph as `.mrc` files of its own size."""
    rot, tilt, psi = match.best_angles()
    maps = {
        "max_snr": match.snr,
        "z_score": match.z,
        "mean": match.mean,
        "deviation": match.deviation,
        "rot": rot,
        "tilt": tilt,
        "psi": psi,
    }
    if has_ctf:
        maps["defocus_offset"] = match.best_offset()
    for name, image in maps.items():
        write_micrograph(folder / f"{name}.mrc", image, pixel_size)


def write_summary(match: Match, path: Path, word: str, seconds: float) -> None:
    """Write the figures of a search as YAML, with the fingerprint of what it depended on."""
    figures = {
        "orientations": len(match.angles),
        "defoci": len(match.offsets),
        "correlations": match.samples,
        "expected_noise_maximum": round(match.expected_maximum, 4),
        "threshold": round(match.threshold, 4),
        "peaks_in": "z_score" if match.uses_z else "max_snr",
        "z_score_keeps": round(match.z_keeps, 3),
        "peaks": len(match.peaks),
        "highest": round(float(match.score.max()), 4),
        "seconds": round(seconds, 1),
        "fingerprint": word,
    }
    write_text(path, yaml.safe_dump(figures, sort_keys=False))


def write_peaks(path: Path, found: Sequence[Found], pixel_size: float) -> None:
    """Write the peaks of all micrographs as a RELION particle table with coordinates."""
    columns: dict[str, list[str]] = {
        "rlnMicrographName": [
            one.micrograph.name or str(one.micrograph.path) for one in found for _ in one.score
        ],
        "rlnOpticsGroup": ["1"] * sum(len(one.score) for one in found),
    }
    numbers = {
        "rlnCoordinateX": [one.place[:, 0] for one in found],
        "rlnCoordinateY": [one.place[:, 1] for one in found],
        "rlnAngleRot": [one.angles[:, 0] for one in found],
        "rlnAngleTilt": [one.angles[:, 1] for one in found],
        "rlnAnglePsi": [one.angles[:, 2] for one in found],
        "rlnAutopickFigureOfMerit": [one.score for one in found],
    }
    for name, parts in numbers.items():
        columns[name] = [f"{value:.4f}" for value in np.concatenate(parts).tolist()]
    with_ctf = [one.ctf for one in found if one.ctf is not None]
    first = with_ctf[0] if with_ctf else None
    if len(with_ctf) == len(found):
        for ctf in with_ctf:
            for name, cells in ctf_cells(ctf).items():
                columns.setdefault(name, []).extend(cells)
    optics_of = None
    if first is not None:
        micrograph = next(one.micrograph for one in found if one.micrograph.ctf is not None)
        optics_of = micrograph.ctf
    write_table(path, optics_block(optics_of, pixel_size), "particles", columns)


def plot_histogram(match: Match, path: Path, title: str) -> None:
    """Draw the correlations beside the standard normal, with the noise's expected maximum."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    x = HISTOGRAM_START + HISTOGRAM_STEP * (np.arange(len(match.histogram)) + 0.5)
    sampled = match.histogram.sum()
    normal = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) * HISTOGRAM_STEP * sampled
    score = match.score.ravel()
    edges = np.arange(np.floor(score.min() * 10) / 10, score.max() + 0.2, 0.1)
    count, _ = np.histogram(score, edges)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shown = match.histogram > 0
    left.step(x[shown], match.histogram[shown], where="mid", lw=1.2, label="correlations")
    left.plot(x, normal, lw=1, color="0.4", ls="--", label="standard normal")
    left.set(xlabel="correlation (σ of the noise)", ylabel="count of a sample", yscale="log")
    left.set(ylim=(0.5, 3 * max(1.0, match.histogram.max())), xlim=(-8, max(8.0, x[shown].max())))
    right.step(0.5 * (edges[1:] + edges[:-1]), count, where="mid", lw=1.2, color="#1b6ca8")
    name = "z score" if match.uses_z else "largest correlation"
    right.set(xlabel=f"{name} of each pixel", ylabel="pixels", yscale="log")
    right.set(ylim=(0.5, 3 * max(1, count.max())))
    for axes in (left, right):
        axes.axvline(
            match.expected_maximum, color="0.4", lw=1, label=_label("noise", match.expected_maximum)
        )
        if match.threshold != match.expected_maximum:
            axes.axvline(
                match.threshold, color="#e0872b", lw=1, label=_label("threshold", match.threshold)
            )
        axes.legend(fontsize=8, edgecolor="none", framealpha=1.0)
    figure.suptitle(f"{title}: {len(match.peaks)} peaks", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _label(what: str, value: float) -> str:
    words = "expected maximum of noise" if what == "noise" else "threshold"
    return f"{words}, {value:.2f}"


def plot_peaks(image: Float32[np.ndarray, "h w"], match: Match, path: Path, radius: float) -> None:
    """Draw the micrograph with a ring around each peak, and the scores beside it.

    **Arguments:** `radius`: of the rings, pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    height, width = image.shape
    figure = Figure(figsize=(10, 0.4 + 5 * height / width), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    low, high = np.percentile(image, [1, 99])
    left.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
    score = match.score
    shown = right.imshow(
        score, cmap="magma", vmin=np.percentile(score, 50), vmax=score.max(), origin="lower"
    )
    figure.colorbar(shown, ax=right, shrink=0.8)
    left.set_title(f"{len(match.peaks)} peaks", fontsize=10)
    right.set_title("z score" if match.uses_z else "largest correlation (σ)", fontsize=10)
    if len(match.peaks):
        side = np.full(len(match.peaks), 2 * radius)
        rings = EllipseCollection(
            side,
            side,
            np.zeros(len(side)),
            units="xy",
            offsets=match.places[:, ::-1],
            offset_transform=left.transData,
            facecolors="none",
            edgecolors="#e0872b",
            linewidths=1.0,
        )
        left.add_collection(rings)
    for axes in (left, right):
        axes.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
