"""The tilt series behind tomograms, as RELION 4 and 5 describe them: pose, CTF and dose of a tilt.

A point `x` of the tomogram (Å from its centre) lies at `R x + s` in a tilt image, and `R x` has
its depth in the third component.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.paths import find_file
from vitreous.particles.relion import CTF
from vitreous.particles.star import StarFile, read_star
from vitreous.particles.star_block import StarBlock

_FILE = "rlnTomoTiltSeriesStarFile"
_ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
_MATRIX = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")
_SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
# Fields of the CTF that belong to the microscope stand beside the tomogram's name.
_OF_MICROSCOPE = ("voltage", "spherical_aberration", "amplitude_contrast")
_ROUNDING = 0.02


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """Hold the tilts of one tomogram, in the order of its file.

    Fields: `rotation`: tomogram to image. `ctf`: at the tomogram's centre, or None. `dose`: e/Å²
    before each tilt, or None. `hand`: by how much the defocus grows with depth: ±1, or that times
    a slope. `size`: of the tomogram in pixels, None where it is not said. `pixel_size`: Å of
    those pixels.
    """

    name: str
    rotation: Float64[np.ndarray, "t 3 3"]
    ctf: CTFParameters | None
    dose: Float32[np.ndarray, " t"] | None
    hand: float
    size: tuple[float, ...] | None
    pixel_size: float | None

    def __len__(self) -> int:
        return len(self.rotation)


class Tomograms:
    """Look up tilt series by the name of their tomogram; each is read once, when asked for."""

    def __init__(self, path: Path):
        """Open a `tomograms.star`. **Raises:** `InputError` if it has no table of tomograms."""
        self.path = path
        self._star = read_star(path)
        table = self._star.find("global")
        if table is None or "rlnTomoName" not in table.columns:
            raise InputError(f"{path}: no tomograms.star: it has no data_global with _rlnTomoName")
        self._table = table
        self._rows = {name: row for row, name in enumerate(table.text("rlnTomoName"))}
        self._read: dict[str, TiltSeries] = {}

    def find(self, name: str) -> TiltSeries | None:
        """Return the tilt series of a tomogram, or None if this file does not list it."""
        row = self._rows.get(name)
        if row is None:
            return None
        if name not in self._read:
            self._read[name] = self._series(name, self._table.take(np.array([row])))
        return self._read[name]

    def missing_files(self, names: Iterable[str]) -> list[str]:
        """List the tilt-series files of these tomograms that are not where they should be."""
        if _FILE not in self._table.columns:
            return []
        files = self._table.text(_FILE)
        wanted = (files[self._rows[name]] for name in names if name in self._rows)
        return [file for file in wanted if find_file(file, self.path) is None]

    def _series(self, name: str, tomogram: StarBlock) -> TiltSeries:
        tilts = self._tilts(name, tomogram)
        rotation = _rotation(tilts)
        hand = _number(tomogram, "rlnTomoHand")
        slope = _number(tomogram, "rlnTomoDefocusSlope")
        size = tuple(_number(tomogram, column) for column in _SIZE)
        return TiltSeries(
            name=name,
            rotation=rotation,
            ctf=_ctf(tilts, tomogram, rotation),
            dose=_column(tilts, "rlnMicrographPreExposure"),
            # RELION's own default; experiments nearly always find −1.
            hand=(-1.0 if hand is None else hand) * (1.0 if slope is None else slope),
            size=None if None in size else tuple(x for x in size if x is not None),
            pixel_size=_number(tomogram, "rlnTomoTiltSeriesPixelSize"),
        )

    def _tilts(self, name: str, tomogram: StarBlock) -> StarBlock:
        """Return the table of tilts: in a file of its own (RELION 5) or in a block (RELION 4)."""
        if _FILE in tomogram.columns:
            given = tomogram.text(_FILE)[0]
            found = find_file(given, self.path)
            if found is None:
                raise InputError(
                    f"{given} (named in {self.path}): no such file; it is looked for in the "
                    "folders above"
                )
            star = read_star(found)
            return star.find(name) or _only_loop(star)
        block = self._star.find(name)
        if block is None:
            raise InputError(f"{self.path}: has no data_{name} with the tilts of that tomogram")
        return block


def _only_loop(star: StarFile) -> StarBlock:
    loops = [block for block in star.blocks if block.is_loop]
    if len(loops) != 1:
        raise InputError(f"{star.path}: expected one table of tilts, found {len(loops)}")
    return loops[0]


def _rotation(tilts: StarBlock) -> Float64[np.ndarray, "t 3 3"]:
    """Return the rotations: `Rz(ZRot) Ry(YTilt) Rx(XTilt)`, or the rows of projection matrices."""
    if set(_ANGLES) <= set(tilts.columns):
        angles = _finite(tilts, tilts.read(numbers=_ANGLES))
        x, y, z = (
            rotation_vector_to_matrix(angles[name][:, None] * axis)
            for name, axis in zip(_ANGLES, np.eye(3), strict=True)
        )
        return z @ y @ x
    if not set(_MATRIX) <= set(tilts.columns):
        raise InputError(
            f"{tilts.path}: data_{tilts.name}: has neither _{_ANGLES[0]}, _{_ANGLES[1]}, "
            f"_{_ANGLES[2]} nor _{_MATRIX[0]} …: the tilts are not aligned yet"
        )
    rows = [[_vector(tilts, name, cell) for cell in tilts.text(name)] for name in _MATRIX]
    matrix = np.stack([np.array(row, np.float64)[:, :3] for row in rows], axis=1)
    u, _, vt = np.linalg.svd(matrix)
    nearest = u @ vt
    bad = np.flatnonzero(np.abs(matrix - nearest).max(axis=(1, 2)) > _ROUNDING)
    if bad.size:
        raise InputError(
            f"{tilts.path}: data_{tilts.name}: row {bad[0] + 1}: _{_MATRIX[0]} … is no rotation"
        )
    return nearest


def _vector(tilts: StarBlock, name: str, cell: str) -> list[float]:
    try:
        values = [float(word) for word in cell.strip("[]").split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise InputError(f"{tilts.path}: data_{tilts.name}: _{name} is {cell!r}, not [a,b,c,d]")
    return values


def _ctf(
    tilts: StarBlock, tomogram: StarBlock, rotation: Float64[np.ndarray, "t 3 3"]
) -> CTFParameters | None:
    """Return the CTF of each tilt at the tomogram's centre, or None without defocus."""
    if "rlnDefocusU" not in tilts.columns:
        return None
    fields = {}
    for field, (name, default) in CTF.items():
        block = tomogram if field in _OF_MICROSCOPE and name in tomogram.columns else tilts
        if name in block.columns:
            values = _finite(block, block.read(numbers=[name]))[name]
        elif field == "scale":
            # Ice is thicker along the beam where the specimen is tilted.
            values = np.clip(rotation[:, 2, 2], 0.0, 1.0)
        elif default is not None:
            values = np.array([default])
        else:
            raise InputError(f"{block.path}: data_{block.name}: has _rlnDefocusU but no _{name}")
        fields[field] = np.broadcast_to(values, len(tilts)).astype(np.float32)
    return CTFParameters(**fields)


def _number(block: StarBlock, name: str) -> float | None:
    if name not in block.columns:
        return None
    return float(_finite(block, block.read(numbers=[name]))[name][0])


def _column(block: StarBlock, name: str) -> Float32[np.ndarray, " t"] | None:
    if name not in block.columns:
        return None
    return _finite(block, block.read(numbers=[name]))[name].astype(np.float32)


def _finite(block: StarBlock, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise InputError(
                f"{block.path}: data_{block.name}: row {bad[0] + 1}: {name} is not a finite number"
            )
    return columns
