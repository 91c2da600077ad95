"""Look at particles before anything is trained on them: every check, in order, in seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.maps import Map, read_map
from vitreous.particles.peer_pickles import PoseUnit
from vitreous.particles.read import read_particles
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.checks.evidence import band, explain
from vitreous.reconstruction.checks.optics import check_optics, check_rows, check_sampling
from vitreous.reconstruction.checks.picture import draw_check
from vitreous.reconstruction.checks.report import Report
from vitreous.reconstruction.checks.sample import LIMIT, Sample, load_sample
from vitreous.reconstruction.checks.verdicts import (
    judge_carried_ctf,
    judge_contrast,
    judge_hand,
    judge_pixels,
    judge_poses,
    judge_resolution,
)
from vitreous.reconstruction.consensus import consensus_volume

# Explanations are compared on so many images and shells: tenths of a second each.
_IMAGES, _SHELLS = 1000, 24


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
    tomograms: str | Path | None = None,
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
            tomograms=tomograms,
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
    judge_pixels(sample, report)
    say("reconstructing")
    _check_images(table, sample, wanted, expect_dark, folder, report, say)
    return _written(report, folder)


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
    verdict = judge_contrast(sample, made, expect_dark, report)
    sign = -1 if verdict == "dark" else 1
    volume = sign * np.asarray(made.volume)
    if not sample.has_poses:
        where = "give them with --poses, or find them: vitreous abinit"
        report.note("poses", f"the file has none; {where}", is_open=True)
    else:
        say("trying other poses and signs")
        few, narrow = band(geometry, sample.subset(_IMAGES), _SHELLS)
        given = explain(few, narrow)
        if judge_poses(sample, few, narrow, given, report):
            judge_carried_ctf(given, few, narrow, report)
            judge_resolution(made, geometry, table, report)
            judge_hand(volume, made, geometry.voxel_size, reference, report)
    if folder is not None:
        say("drawing")
        curves = {"half maps": np.asarray(made.fsc)}
        title = f"{Path(report.particles).name}: {len(sample):,} of {len(table):,} particles"
        verdicts = [f"✗ {finding}" for finding in report.findings]
        verdicts += [f"{'?' if fact.is_open else '✓'} {fact}" for fact in report.facts]
        report.picture = Path(folder) / "check.png"
        draw_check(
            report.picture,
            volume,
            curves,
            geometry.voxel_size,
            sample.shown,
            title,
            verdicts,
        )


def _written(report: Report, folder: str | Path | None) -> Report:
    if folder is not None:
        if report.picture is None:
            # One of an earlier check would show other particles.
            (Path(folder) / "check.png").unlink(missing_ok=True)
        write_text(Path(folder) / "check.json", report.to_json() + "\n")
    return report
