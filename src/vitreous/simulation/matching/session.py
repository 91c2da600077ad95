"""Search micrographs one after the other, each into its own folder; done ones are not repeated."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from vitreous.errors import InputError
from vitreous.files import is_writer
from vitreous.particles.processes import check_same, most_of_processes
from vitreous.particles.star import StarFile, read_star
from vitreous.particles.star_block import StarBlock
from vitreous.simulation.fingerprint import fingerprint
from vitreous.simulation.matching.match import plan_search, run_search
from vitreous.simulation.matching.options import MatchOptions
from vitreous.simulation.matching.outputs import (
    found_particles,
    plot_histogram,
    plot_peaks,
    write_maps,
    write_peaks,
    write_summary,
)
from vitreous.simulation.micrograph_files import Micrograph
from vitreous.simulation.specimen import Specimen

SUMMARY = "match.yaml"


def match_micrographs(
    micrographs: Sequence[Micrograph],
    template: Callable[[float], Specimen],
    folder: str | Path,
    options: MatchOptions | None = None,
    *,
    with_maps: bool = True,
    progress: Callable[[int], object] = lambda orientations: None,
    should_stop: Callable[[], object] = lambda: False,
) -> StarFile | None:
    """Search micrographs and write what is found.

    **Arguments:** `template`: makes the template at a pixel size in Å. `with_maps`: write the maps
    of each micrograph. `progress`: called with the number of orientations since its last call.
    `should_stop`: asked often.

    **Returns:** `peaks.star`, or None if it was asked to stop. For each micrograph a folder of its
    name holds `max_snr.mrc`, `z_score.mrc`, `mean.mrc`, `deviation.mrc`, `rot.mrc`, `tilt.mrc`,
    `psi.mrc`, `defocus_offset.mrc`, `peaks.star`, `histogram.png`, `peaks.png` and `match.yaml`. A
    call that was stopped or killed goes on when it is repeated.

    **Raises:** `InputError` for micrographs that cannot be searched, before any is.
    """
    options, folder = options or MatchOptions(), Path(folder)
    places = [folder / name for name in _folder_names(micrographs)]
    for micrograph, place in zip(micrographs, places, strict=True):
        if not _match_one(micrograph, template, place, options, with_maps, progress, should_stop):
            return None
    tables = [read_star(place / "peaks.star") for place in places]
    merged = StarFile((*tables[0].blocks[:-1], _joined([t.main for t in tables])), folder)
    merged.write(folder / "peaks.star")
    return merged


def _folder_names(micrographs: Sequence[Micrograph]) -> list[str]:
    names = [micrograph.path.stem for micrograph in micrographs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two micrographs are named {twice}; give each its own --outdir")
    return names


def _match_one(
    micrograph: Micrograph,
    template: Callable[[float], Specimen],
    place: Path,
    options: MatchOptions,
    with_maps: bool,
    progress: Callable[[int], object],
    should_stop: Callable[[], object],
) -> bool:
    image, pixel_size = micrograph.read()
    specimen = template(pixel_size)
    search = plan_search(image, specimen, micrograph.ctf, options)
    word = fingerprint(search.word, vars(options), with_maps)
    check_same("micrographs", word.encode())
    if _is_done(place, word):
        progress(len(search.angles))
        return True
    begun = time.perf_counter()
    saved = place / ".search.npz"
    match = run_search(search, progress=progress, saved=saved, should_stop=should_stop)
    if match is None:
        return False
    if is_writer():
        if with_maps:
            write_maps(match, place, pixel_size, micrograph.ctf is not None)
        plot_histogram(match, place / "histogram.png", micrograph.path.name)
        plot_peaks(image, match, place / "peaks.png", 0.4 * specimen.box)
        write_peaks(place / "peaks.star", [found_particles(micrograph, match)], pixel_size)
        write_summary(match, place / SUMMARY, word, time.perf_counter() - begun)
        saved.unlink(missing_ok=True)
    # No process reads what the first has not written.
    most_of_processes(0)
    return True


def _is_done(place: Path, word: str) -> bool:
    try:
        summary = yaml.safe_load((place / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(summary, dict) and summary.get("fingerprint") == word


def _joined(blocks: Sequence[StarBlock]) -> StarBlock:
    """Put the rows of like tables under one another."""
    first = blocks[0]
    if any(block.columns != first.columns for block in blocks):
        raise InputError("some of the micrographs have a CTF and some have none; search them apart")
    return StarBlock(
        first.name,
        first.columns,
        b"".join(block.text_of_rows() for block in blocks),
        comment=first.comment,
    )
