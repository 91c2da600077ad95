"""Measurements put into words: what is as it should be, what to mend, what stays open."""

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.geometry.fourier import fft_centered, ifft_centered
from vitreous.geometry.shift import crop_centered
from vitreous.maps import Map
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.checks.applied_ctf import carried_ctf
from vitreous.reconstruction.checks.contrast import decide_contrast, keep_signal
from vitreous.reconstruction.checks.evidence import DECISIVE, Explanation
from vitreous.reconstruction.checks.hand import compare_hands
from vitreous.reconstruction.checks.poses import better_poses, pose_signal
from vitreous.reconstruction.checks.report import Report
from vitreous.reconstruction.checks.sample import Sample
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.fsc import resolution

# Half maps of fewer particles agree or not by accident.
_FEWEST = 50
_CARRIED = {
    "absolute": ("the images' phases are flipped already", "extract them without phase flipping"),
    "square": (
        "the images are multiplied by their CTF already",
        "extract them without CTF premultiplication",
    ),
    "none": (
        "the images show no effect of the CTF given",
        "leave it out (--no-ctf), or correct it",
    ),
}


def judge_pixels(sample: Sample, report: Report) -> None:
    """Count images that hold NaN or no contrast."""
    broken = np.flatnonzero(sample.is_broken)
    if broken.size:
        row = int(sample.table.row[broken[0]]) + 1
        report.find(
            "pixels",
            f"{broken.size} images hold NaN or no contrast, the first is row {row}",
            "leave them out with --ind, or extract them again",
        )


def judge_contrast(sample: Sample, made: Consensus, expect_dark: bool, report: Report) -> str:
    """Decide whether particles are white or dark, and return it."""
    signal = np.asarray(keep_signal(made.half_maps, made.fsc))
    verdict, skew, t_value = decide_contrast(signal, sample.centre_excess)
    report.numbers.update(contrast=verdict, map_skewness=skew, centre_t_value=t_value)
    evidence = f"(map skewness {skew:+.1f}, image centres {t_value:+.0f} σ)"
    wanted = "dark" if expect_dark else "white"
    if verdict == "undetermined":
        report.note("contrast", f"cannot be decided {evidence}", is_open=True)
    elif verdict == wanted:
        report.note("contrast", f"particles are {verdict} {evidence}")
    elif verdict == "dark":
        report.find("contrast", f"particles are dark {evidence}", "pass --uninvert-data")
    else:
        report.find("contrast", f"particles are white {evidence}", "leave out --uninvert-data")
    return verdict


def judge_poses(
    sample: Sample, few: Slices, narrow: Geometry, given: Explanation, report: Report
) -> bool:
    """Look for mistaken poses; return whether those given explain the images."""
    table = sample.table
    count = len(table) if table.particle is None else len(np.unique(table.particle))
    if count < _FEWEST:
        report.note("poses", f"cannot be judged by half maps of {count} particles", is_open=True)
        return False
    signal = pose_signal(given, few, narrow)
    report.numbers.update(pose_signal_sigma=signal)
    change = better_poses(given, few, narrow, float(table.pixel_size[0]), int(table.box[0]))
    if change is not None:
        report.find("poses", f"{change.problem} ({change.advantage:.0f} σ)", change.mend)
        report.numbers.update(pose_change=change.problem)
    if signal > DECISIVE:
        report.note("poses", f"fit the images ({signal:.0f} σ above the same poses shuffled)")
        return True
    if change is None:
        report.find(
            "poses",
            f"half maps agree no better than with shuffled poses ({signal:.1f} σ)",
            "check that poses and images are of the same set in the same order",
        )
    return False


def judge_carried_ctf(given: Explanation, few: Slices, narrow: Geometry, report: Report) -> None:
    """Say whether the images carry their CTF once, as they should."""
    if few.ctf is None:
        return
    carried = carried_ctf(given, few, narrow)
    report.numbers.update(carried_ctf=carried.kind, carried_ctf_lead=carried.lead)
    if carried.kind in _CARRIED:
        problem, mend = _CARRIED[carried.kind]
        report.find("CTF applied", f"{problem} (log-likelihood +{carried.lead:.0f})", mend)
    elif carried.kind == "ctf":
        report.note("CTF applied", "no: the images carry their CTF once, with its signs")
    else:
        report.note("CTF applied", "cannot be decided from these images", is_open=True)


def judge_resolution(
    made: Consensus, geometry: Geometry, table: ParticleTable, report: Report
) -> None:
    """Note how far half maps agree."""
    curve = np.asarray(made.fsc)
    half, gold = (resolution(curve, geometry.voxel_size, t, geometry.box) for t in (0.5, 0.143))
    limit = "" if geometry.box == int(table.box[0]) else ", box cropped"
    report.note("resolution", f"half-map FSC 0.5 at {half:.1f} Å, 0.143 at {gold:.1f} Å{limit}")
    report.numbers.update(fsc=[round(float(v), 5) for v in curve], resolution=gold)


def judge_hand(
    volume: np.ndarray, made: Consensus, voxel_size: float, reference: Map | None, report: Report
) -> None:
    """Compare the hand with that of a reference, if there is one."""
    if reference is None:
        report.note("hand", "undetermined: only a --reference map can tell", is_open=True)
        report.numbers.update(hand="undetermined")
        return
    alike = _resample(reference, volume.shape[0], voxel_size)
    maps = (jnp.asarray(volume), jnp.asarray(alike))
    score = compare_hands(*maps, made.fsc, jax.random.key(0))
    report.numbers.update(hand_same=score.same, hand_mirror=score.mirror)
    evidence = f"correlation {score.same:.2f}, mirror image {score.mirror:.2f}"
    if not score.is_clear:
        report.note("hand", f"undetermined by the reference ({evidence})", is_open=True)
        report.numbers.update(hand="undetermined")
    elif score.same > score.mirror:
        report.note("hand", f"that of the reference ({evidence})")
        report.numbers.update(hand="same")
    else:
        report.find("hand", f"mirror image of the reference ({evidence})", "flip the hand (flip z)")
        report.numbers.update(hand="mirror")


def _resample(reference: Map, box: int, voxel_size: float) -> np.ndarray:
    """Bring a map to a box and voxel size: crop or pad in real, then in Fourier space."""
    side = max(2, round(box * voxel_size / reference.voxel_size))
    real = crop_centered(reference.data, side, 3)
    low = crop_centered(fft_centered(jnp.asarray(real), 3), box, 3)
    return np.asarray(ifft_centered(low, 3).real)
