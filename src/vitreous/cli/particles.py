"""Commands on particle files: poses and CTF for the peers' pickles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from vitreous.imaging.ctf import CTFParameters
    from vitreous.particles.cryosparc import CsData
    from vitreous.particles.relion import RelionParticles

OutPickle = Annotated[Path, typer.Option("-o", "--outpkl", help="Output (.pkl).")]
OriginalBox = Annotated[
    int | None,
    typer.Option("-D", help="Box of the original images in pixels, in place of the file's."),
]
OriginalPixel = Annotated[
    float | None,
    typer.Option("--Apix", help="Å/pixel of the original images, in place of the file's."),
]
Png = Annotated[Path | None, typer.Option("--png", help="Also plot defocus and CTF (.png).")]


def parse_pose_star(
    input: Annotated[Path, typer.Argument(help="RELION table (.star).")],
    outpkl: OutPickle,
    box: OriginalBox = None,
    pixel_size: OriginalPixel = None,
) -> None:
    """Write the poses of a RELION `.star` as `poses.pkl`.

    Rotations as matrices, shifts as fractions of the box, which stay true for downsampled images.
    Training commands read the `.star` itself; this is for other programs.

    Example: `vitreous parse-pose-star particles.star -o poses.pkl -D 300`
    """
    import numpy as np

    from vitreous.particles.relion import ORIGIN, ORIGIN_PIXELS

    particles = _read_relion(input)
    rotation = particles.rotation()
    if rotation is None:
        raise InputError(f"{input}: has no Euler angles (_rlnAngleRot, Tilt, Psi)")
    columns = particles.table.columns
    sizes = _pixel_sizes(particles, pixel_size, len(particles))
    if sizes is None:
        if ORIGIN[0] in columns:
            raise InputError(f"{input}: has origins in Å but no pixel size; give --Apix")
        # Origins in pixels over a box in pixels: the pixel size cancels.
        sizes = np.ones(len(particles))
    if not {*ORIGIN} <= {*columns} and not {*ORIGIN_PIXELS} <= {*columns}:
        typer.echo(f"{input}: has no origins; shifts are written as 0", err=True)
    side = _boxes(particles, box, len(particles), input) * sizes
    _save_poses(outpkl, input, rotation, particles.shift(sizes), side)


def parse_pose_csparc(
    input: Annotated[Path, typer.Argument(help="cryoSPARC table (.cs).")],
    outpkl: OutPickle,
    abinit: Annotated[
        bool, typer.Option("--abinit", help="Poses of an ab-initio job (alignments_class_0).")
    ] = False,
    hetrefine: Annotated[
        bool,
        typer.Option("--hetrefine", help="Heterogeneous refinement: shifts at half the sampling."),
    ] = False,
    box: OriginalBox = None,
) -> None:
    """Write the poses of a cryoSPARC `.cs` as `poses.pkl`.

    Shifts are read at the pixel size of the alignment, which need not be that of the images. A
    passthrough file beside the input is joined where fields are missing.

    Example: `vitreous parse-pose-csparc cryosparc_P27_J3_005_particles.cs -o poses.pkl`
    """
    import numpy as np

    from vitreous.particles.cryosparc import read_cs

    data = read_cs(input)
    prefix = "alignments_class_0" if abinit else data.alignments()
    if prefix is None or data.column(f"{prefix}/pose") is None:
        other = "without --abinit" if abinit else "with --abinit, or the job's passthrough file"
        raise InputError(f"{input}: has no {prefix or 'alignments3D'}/pose; try {other}")
    stored = data.pixel_size()
    sampling = data.column(f"{prefix}/psize_A")
    if stored is None:
        # Without image fields the shifts are in pixels of the box given.
        stored = np.ones(len(data)) if sampling is None else sampling.astype(np.float64)
    shift = data.shift(stored, prefix)
    says_sampling = sampling is not None and not np.allclose(sampling, stored, rtol=1e-3)
    if hetrefine and not says_sampling:
        shift = 2 * shift
    side = _boxes(data, box, len(data), input) * stored
    rotation = data.rotation(prefix)
    assert rotation is not None
    _save_poses(outpkl, input, rotation, shift, side)


def parse_ctf_star(
    star: Annotated[Path, typer.Argument(help="RELION table (.star).")],
    outpkl: OutPickle,
    png: Png = None,
    box: OriginalBox = None,
    pixel_size: OriginalPixel = None,
    kv: Annotated[float | None, typer.Option(help="Voltage in kV.")] = None,
    cs: Annotated[float | None, typer.Option(help="Spherical aberration in mm.")] = None,
    w: Annotated[float | None, typer.Option("-w", help="Amplitude contrast, 0 to 1.")] = None,
    ps: Annotated[float | None, typer.Option(help="Phase shift in degrees.")] = None,
) -> None:
    """Write the CTF parameters of a RELION `.star` as `ctf.pkl`.

    Box and pixel size are those of the original images. Options take the place of what the file
    says. Every optics group keeps its own pixel size and box; a missing phase shift means 0.

    Example: `vitreous parse-ctf-star particles.star -D 300 --Apix 1.03 -o ctf.pkl`
    """
    particles = _read_relion(star)
    given = {
        "voltage": kv,
        "spherical_aberration": cs,
        "amplitude_contrast": w,
        "phase_shift": ps,
    }
    ctf = particles.ctf({name: value for name, value in given.items() if value is not None})
    if ctf is None:
        raise InputError(f"{star}: has no defocus (_rlnDefocusU)")
    _save_ctf(outpkl, png, star, particles, ctf, box, pixel_size)


def parse_ctf_csparc(
    cs: Annotated[Path, typer.Argument(help="cryoSPARC table (.cs).")],
    outpkl: OutPickle,
    png: Png = None,
    box: OriginalBox = None,
    pixel_size: OriginalPixel = None,
) -> None:
    """Write the CTF parameters of a cryoSPARC `.cs` as `ctf.pkl`.

    A passthrough file beside the input is joined where fields are missing.

    Example: `vitreous parse-ctf-csparc cryosparc_P27_J3_005_particles.cs -o ctf.pkl`
    """
    from vitreous.particles.cryosparc import read_cs

    data = read_cs(cs)
    ctf = data.ctf()
    if ctf is None:
        raise InputError(f"{cs}: has no CTF fields (ctf/df1_A); put the passthrough file beside it")
    _save_ctf(outpkl, png, cs, data, ctf, box, pixel_size)


def _read_relion(path: Path) -> "RelionParticles":
    from vitreous.particles.relion import RelionParticles
    from vitreous.particles.relion_tomo import is_tomo_table
    from vitreous.particles.star import read_star

    star = read_star(path)
    if is_tomo_table(star):
        raise InputError(
            f"{path}: rows are particles of tomograms, not images; vitreous parse-relion writes "
            "a table of their images"
        )
    return RelionParticles(star)


def _save_poses(
    outpkl: Path, input: Path, rotation: "np.ndarray", shift: "np.ndarray", side: "np.ndarray"
) -> None:
    import numpy as np

    from vitreous.particles import save_pose_pickle

    outside = np.flatnonzero((np.abs(shift) > 0.5 * side[:, None]).any(axis=1))
    if outside.size:
        raise InputError(
            f"{input}: row {outside[0] + 1}: the shift puts the particle outside its box "
            f"({outside.size} rows in all); check -D, or remove them"
        )
    save_pose_pickle(outpkl, rotation, shift, side)
    typer.echo(f"{outpkl}: {len(rotation)} poses")


def _save_ctf(
    outpkl: Path,
    png: Path | None,
    input: Path,
    fields: "RelionParticles | CsData",
    ctf: "CTFParameters",
    box: int | None,
    pixel_size: float | None,
) -> None:
    from vitreous.particles import save_ctf_pickle

    count = len(ctf.defocus_u)
    sizes = _pixel_sizes(fields, pixel_size, count)
    if sizes is None:
        raise InputError(f"{input}: does not say the pixel size; give --Apix")
    boxes = _boxes(fields, box, count, input)
    save_ctf_pickle(outpkl, ctf, boxes, sizes)
    typer.echo(f"{outpkl}: {count} CTFs")
    if png is not None:
        from vitreous.particles.ctf_plot import plot_ctf

        plot_ctf(png, ctf, float(sizes[0]))
        typer.echo(f"{png}: defocus and CTF")


def _pixel_sizes(
    fields: "RelionParticles | CsData", given: float | None, count: int
) -> "np.ndarray | None":
    import numpy as np

    if given is not None and not given > 0:
        raise InputError(f"--Apix {given}: must be positive")
    return fields.pixel_size() if given is None else np.full(count, given)


def _boxes(
    fields: "RelionParticles | CsData", given: int | None, count: int, input: Path
) -> "np.ndarray":
    import numpy as np

    if given is not None and given < 2:
        raise InputError(f"-D {given}: must be at least 2 pixels")
    boxes = fields.box() if given is None else np.full(count, given, np.int32)
    if boxes is None:
        raise InputError(f"{input}: does not say the box size of the images; give -D")
    return boxes
