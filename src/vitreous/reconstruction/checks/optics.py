"""Is what the files say about the microscope possible, and do they agree with each other?"""

import numpy as np

from vitreous.mrc import read_header
from vitreous.particles.relion import PREMULTIPLIED
from vitreous.particles.star import StarFile
from vitreous.particles.table import ParticleTable
from vitreous.reconstruction.checks.report import Report

# Columns of an optics table that say the images were corrected already.
_APPLIED = {
    "rlnCtfDataArePhaseFlipped": "their phases are flipped",
    PREMULTIPLIED: "they are multiplied by their CTF",
}


def check_sampling(table: ParticleTable, report: Report) -> None:
    """Compare pixel sizes and boxes of all optics groups, and with the headers of the stacks."""
    sizes, boxes = np.unique(table.pixel_size), np.unique(table.box)
    groups = len(np.unique(table.optics_group))
    text = f"{groups} optics group{'s' if groups > 1 else ''}, "
    text += f"{_list(sizes)} Å/px, box {_list(boxes)}"
    report.numbers.update(pixel_size=sizes.tolist(), box=boxes.tolist(), optics_groups=groups)
    report.note("sampling", text)
    for stack_id in np.unique(table.stack_id)[:50].tolist():
        header = read_header(table.stacks[stack_id]).voxel_size[0]
        mine = table.pixel_size[table.stack_id == stack_id]
        # 0 and 1 are what programs write that do not know.
        if header in (0.0, 1.0) or np.allclose(mine, header, rtol=0.01):
            continue
        report.find(
            "pixel size",
            f"{table.stacks[stack_id]} says {header:g} Å/px in its header, the particle file "
            f"{_list(np.unique(mine))}",
            "find out which is true (images downsampled after the file was written?) and give it "
            "with --Apix",
        )
        return


def check_optics(table: ParticleTable, report: Report, expect_ctf: bool = True) -> None:
    """Look for values that no microscope has, and for signs of a CTF that was applied before."""
    if isinstance(table.source, StarFile) and table.source.optics is not None:
        optics = table.source.optics
        for column, meaning in _APPLIED.items():
            if column in optics.columns and optics.numbers(column).any():
                if column == PREMULTIPLIED and table.ctf is not None:
                    report.note("CTF applied", f"_{column} says so, and it is undone on reading")
                    continue
                report.find(
                    "CTF applied",
                    f"_{column} says of the images that {meaning}",
                    "extract the particles again without it",
                )
    if table.ctf is None:
        if expect_ctf:
            report.find(
                "CTF",
                "no CTF parameters",
                "give them with --ctf, or say --no-ctf if the images have none",
            )
        return
    ctf = table.ctf
    u, v = np.asarray(ctf.defocus_u), np.asarray(ctf.defocus_v)
    mean = (u + v) / 2
    lower, upper = np.percentile(mean, [0, 100]) / 1e4
    report.note(
        "CTF",
        f"defocus {lower:.2f}–{upper:.2f} µm, {_list(np.unique(ctf.voltage))} kV, "
        f"Cs {_list(np.unique(ctf.spherical_aberration))} mm, "
        f"amplitude contrast {_list(np.unique(ctf.amplitude_contrast))}",
    )
    report.numbers.update(defocus=[float(lower), float(upper)])
    if np.abs(mean).max() < 100:
        report.find("CTF", f"defocus reaches {np.abs(mean).max():g}", "give it in Å, not µm")
    elif np.median(mean) < 0:
        report.find("CTF", "defocus is negative", "turn its sign: underfocus is positive")
    elif np.mean(np.abs(u - v) > 0.5 * np.abs(mean)) > 0.05:
        report.find("CTF", "astigmatism is over half of the defocus", "refine or drop these CTFs")
    if not np.isin(np.rint(ctf.voltage), np.arange(60, 401)).all():
        report.find("CTF", f"voltage {_list(np.unique(ctf.voltage))}", "give it in kV")
    if (np.asarray(ctf.spherical_aberration) > 20).any():
        report.find("CTF", "spherical aberration above 20", "give it in mm")
    if (np.asarray(ctf.amplitude_contrast) > 0.5).any():
        report.find(
            "CTF", "amplitude contrast above 0.5", "give it as a fraction, such as 0.07 or 0.1"
        )


def check_rows(table: ParticleTable, report: Report) -> None:
    """Look for images listed twice, and say what the halves are."""
    place = np.stack([table.stack_id, table.image_index], axis=1)
    twice = len(place) - len(np.unique(place, axis=0))
    if twice:
        report.find(
            "rows",
            f"{twice} images are listed more than once",
            "remove the copies: half maps share them",
        )
    if table.half_set is not None:
        sizes = np.bincount(table.half_set, minlength=2)
        report.note("half sets", f"{sizes[0]:,} and {sizes[1]:,}, from the file")
    if table.particle is not None:
        report.note(
            "tilts", f"{len(np.unique(table.particle)):,} particles in {len(table):,} images"
        )


def _list(values: np.ndarray, limit: int = 4) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:limit])
    return shown + (f" and {len(values) - limit} more" if len(values) > limit else "")
