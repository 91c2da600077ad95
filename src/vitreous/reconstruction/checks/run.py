"""Look at particles before anything is trained on them: every check, in order, in seconds."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.geometry.fourier import fft_centered, ifft_centered
from vitreous.geometry.shift import crop_centered
from vitreous.particles.maps import Map, read_map
from vitreous.particles.peer_pickles import PoseUnit
from vitreous.particles.read import read_particles
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.backprojection import Geometry, Slices
from vitreous.reconstruction.checks.applied_ctf import carried_ctf
from vitreous.reconstruction.checks.contrast import decide_contrast, keep_signal
from vitreous.reconstruction.checks.evidence import DECISIVE, Explanation, band, explain
from vitreous.reconstruction.checks.hand import compare_hands
from vitreous.reconstruction.checks.optics import check_optics, check_rows, check_sampling
from vitreous.reconstruction.checks.picture import draw_check
from vitreous.reconstruction.checks.poses import better_poses, pose_signal
from vitreous.reconstruction.checks.report import Report
from vitreous.reconstruction.checks.sample import LIMIT, Sample, load_sample
from vitreous.reconstruction.consensus import consensus_volume
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.fsc import resolution

# Explanations are compared on so many images and shells: tenths of a second each.
_IMAGES, _SHELLS = 1000, 24
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


def check_particles(
    particles: str | Path,
    *,
    poses: str | Path | None = None,
    ctf: str | Path | None = None,
    expect_ctf: bool = True,
    expect_dark: bool = False,
    datadir: str | Path | None = None,
    ind: str | Path | None = None,
    pixel_size: float | None = None,
    pose_unit: PoseUnit = "fraction",
    reference: str | Path | None = None,
    folder: str | Path | None = None,
    first: int = LIMIT,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Check the first particles of a file: do files, optics, poses, signs and units make sense?

    **Arguments:** `expect_ctf`: complain if there is none. `expect_dark`: the particles are known
    to be dark. `reference`: a map of the molecule, which decides the hand. `folder`:
    where to write `check.png` and `check.json`. `first`: images to look at. `progress`: called
    with a word on what comes next. The others as in `read_particles`.

    **Returns:** the report; what keeps the files from being read at all is a finding too.

    **Raises:** `InputError` only if the particle file or the reference does not exist.
    """
    report = Report(str(particles))
    if not Path(particles).is_file():
        raise InputError(f"{particles}: no such file")
    say = progress or (lambda _: None)
    say("reading")
    wanted = None if reference is None else read_map(reference)
    try:
        table = read_particles(
            particles,
            datadir=datadir,
            poses=poses,
            ctf=ctf,
            ind=ind,
            pixel_size=pixel_size,
            pose_unit=pose_unit,
        )
        if not expect_ctf:
            table = table.replace(ctf=None)
        check_sampling(table, report)
        check_optics(table, report, expect_ctf)
        check_rows(table, report)
        sample = load_sample(table, first)
    except InputError as error:
        problem, _, mend = str(error).partition("; ")
        report.find("files", problem, mend or "mend the file")
        return _written(report, folder)
    report.numbers.update(particles=len(table), looked_at=len(sample))
    _check_pixels(sample, report)
    say("reconstructing")
    _check_images(table, sample, wanted, expect_dark, folder, report, say)
    return _written(report, folder)


def _check_pixels(sample: Sample, report: Report) -> None:
    broken = np.flatnonzero(sample.is_broken)
    if broken.size:
        row = int(sample.table.row[broken[0]]) + 1
        report.find(
            "pixels",
            f"{broken.size} images hold NaN or no contrast, the first is row {row}",
            "leave them out with --ind, or extract them again",
        )


def _check_images(
    table: ParticleTable,
    sample: Sample,
    reference: Map | None,
    expect_dark: bool,
    folder: str | Path | None,
    report: Report,
    say: Callable[[str], None],
) -> None:
    geometry = sample.geometry
    made = consensus_volume(sample.on_device(), geometry)
    verdict = _check_contrast(sample, made, expect_dark, report)
    sign = -1 if verdict == "dark" else 1
    volume = sign * np.asarray(made.volume)
    if not sample.has_poses:
        report.find("poses", "the file has none", "give them with --poses")
    else:
        say("trying other poses and signs")
        few, narrow = band(geometry, sample.subset(_IMAGES), _SHELLS)
        given = explain(few, narrow)
        if _check_poses(sample, few, narrow, given, report):
            _check_carried_ctf(given, few, narrow, report)
            _report_resolution(made, geometry, table, report)
            _check_hand(volume, made, geometry.voxel_size, reference, report)
    if folder is not None:
        say("drawing")
        curves = {"half maps": np.asarray(made.fsc)}
        title = f"{Path(report.particles).name}: {len(sample):,} of {len(table):,} particles"
        verdicts = [f"✗ {finding}" for finding in report.findings]
        verdicts += [f"✓ {fact}" for fact in report.facts]
        draw_check(
            Path(folder) / "check.png",
            volume,
            curves,
            geometry.voxel_size,
            sample.shown,
            title,
            verdicts,
        )


def _check_contrast(sample: Sample, made: Consensus, expect_dark: bool, report: Report) -> str:
    signal = np.asarray(keep_signal(made.half_maps, made.fsc))
    verdict, skew, t_value = decide_contrast(signal, sample.centre_excess)
    report.numbers.update(contrast=verdict, map_skewness=skew, centre_t_value=t_value)
    evidence = f"(map skewness {skew:+.1f}, image centres {t_value:+.0f} σ)"
    wanted = "dark" if expect_dark else "white"
    if verdict == "undetermined":
        report.note("contrast", f"cannot be decided {evidence}")
    elif verdict == wanted:
        report.note("contrast", f"particles are {verdict} {evidence}")
    elif verdict == "dark":
        report.find("contrast", f"particles are dark {evidence}", "pass --uninvert-data")
    else:
        report.find("contrast", f"particles are white {evidence}", "leave out --uninvert-data")
    return verdict


def _check_poses(
    sample: Sample, few: Slices, narrow: Geometry, given: Explanation, report: Report
) -> bool:
    """Return whether the poses explain the images."""
    signal = pose_signal(given, few, narrow)
    report.numbers.update(pose_signal_sigma=signal)
    table = sample.table
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


def _check_carried_ctf(given: Explanation, few: Slices, narrow: Geometry, report: Report) -> None:
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
        report.note("CTF applied", "cannot be decided from these images")


def _report_resolution(
    made: Consensus, geometry: Geometry, table: ParticleTable, report: Report
) -> None:
    curve = np.asarray(made.fsc)
    half, gold = (resolution(curve, geometry.voxel_size, t, geometry.box) for t in (0.5, 0.143))
    limit = "" if geometry.box == int(table.box[0]) else ", box cropped"
    report.note("resolution", f"half-map FSC 0.5 at {half:.1f} Å, 0.143 at {gold:.1f} Å{limit}")
    report.numbers.update(fsc=[round(float(v), 5) for v in curve], resolution=gold)


def _check_hand(
    volume: np.ndarray, made: Consensus, voxel_size: float, reference: Map | None, report: Report
) -> None:
    if reference is None:
        report.note("hand", "undetermined: only a --reference map can tell")
        report.numbers.update(hand="undetermined")
        return
    alike = _resample(reference, volume.shape[0], voxel_size)
    maps = (jnp.asarray(volume), jnp.asarray(alike))
    score = compare_hands(*maps, made.fsc, jax.random.key(0))
    report.numbers.update(hand_same=score.same, hand_mirror=score.mirror)
    evidence = f"correlation {score.same:.2f}, mirror image {score.mirror:.2f}"
    if not score.is_clear:
        report.note("hand", f"undetermined by the reference ({evidence})")
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


def _written(report: Report, folder: str | Path | None) -> Report:
    if folder is not None:
        write_text(Path(folder) / "check.json", report.to_json() + "\n")
    return report
