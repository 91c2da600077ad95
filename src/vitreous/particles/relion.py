"""What RELION STAR files (3.0, 3.1, 4, 5, and those of Warp and M) say about particles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles.image_names import ImageNames
from vitreous.particles.series import differs_within, falls_as_in_tilts
from vitreous.particles.star import StarFile
from vitreous.particles.star_block import StarBlock

EULER = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGIN_PIXELS = ("rlnOriginX", "rlnOriginY")
# Field of `CTFParameters` → column, and the value that a missing column stands for.
CTF: dict[str, tuple[str, float | None]] = {
    "defocus_u": ("rlnDefocusU", None),
    "defocus_v": ("rlnDefocusV", None),
    "defocus_angle": ("rlnDefocusAngle", None),
    "voltage": ("rlnVoltage", None),
    "spherical_aberration": ("rlnSphericalAberration", None),
    "amplitude_contrast": ("rlnAmplitudeContrast", None),
    "phase_shift": ("rlnPhaseShift", 0.0),
    "bfactor": ("rlnCtfBfactor", 0.0),
    "scale": ("rlnCtfScalefactor", 1.0),
}
_ANGLES = 1 << 16
_IMAGE, _GROUP = "rlnImageName", "rlnGroupName"
PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"
_MORE_NUMBERS = (
    "rlnImagePixelSize",
    "rlnImageSize",
    "rlnDetectorPixelSize",
    "rlnMagnification",
    "rlnRandomSubset",
    "rlnOpticsGroup",
    "rlnMicrographPreExposure",
    PREMULTIPLIED,
)


@dataclass(frozen=True, eq=False)
class RelionParticles:
    """Look up the fields of each particle, in its optics group first, then in its own row."""

    star: StarFile

    @property
    def table(self) -> StarBlock:
        """The table of particles."""
        return self.star.main

    @property
    def path(self) -> str:
        """The name of the file, for messages."""
        return str(self.star.path)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _optics_columns(self) -> dict[str, np.ndarray]:
        optics = self.star.optics
        if optics is None:
            return {}
        wanted = {column for column, _ in CTF.values()} | set(_MORE_NUMBERS)
        return optics.read(numbers=[c for c in optics.columns if c in wanted])

    @cached_property
    def _columns(self) -> dict:
        wanted = {column for column, _ in CTF.values()} | set(_MORE_NUMBERS)
        wanted |= {*EULER, *ORIGIN, *ORIGIN_PIXELS}
        wanted -= set(self._optics_columns) - {"rlnOpticsGroup"}
        columns, count = self.table.columns, len(self)
        found: dict = {c: np.empty(count) for c in columns if c in wanted}
        numbers, text = list(found), [c for c in (_IMAGE, _GROUP) if c in columns]
        if _IMAGE in columns:
            found[_IMAGE] = ImageNames(count)
        groups: dict[str, int] = {}
        if _GROUP in columns:
            found[_GROUP] = np.empty(count, np.int64)
        start = 0
        for part in self.table.parts(numbers, text) if numbers or text else ():
            rows = slice(start, start + len(part[(numbers + text)[0]]))
            start = rows.stop
            for column in numbers:
                found[column][rows] = part[column]
            # The text of a million names takes much memory: they become numbers at once.
            if _IMAGE in part:
                found[_IMAGE].add(rows.start, part[_IMAGE])
            if _GROUP in part:
                found[_GROUP][rows] = [groups.setdefault(g, len(groups)) for g in part[_GROUP]]
        return found

    @cached_property
    def optics_group(self) -> Int32[np.ndarray, " n"]:
        """The row of the optics table that each particle belongs to; 0 without such a table."""
        labels = self._optics_columns.get("rlnOpticsGroup")
        own = self._columns.get("rlnOpticsGroup")
        if self.star.optics is None or (own is None and len(self.star.optics) == 1):
            return np.zeros(len(self), np.int32)
        if labels is None or own is None:
            table = "data_optics" if labels is None else f"data_{self.table.name}"
            raise InputError(f"{self.path}: {table} has no _rlnOpticsGroup column")
        order = np.argsort(labels, kind="stable")
        place = np.searchsorted(labels[order], own).clip(max=len(labels) - 1)
        lost = np.flatnonzero(labels[order][place] != own)
        if lost.size:
            raise InputError(
                f"{self.path}: row {lost[0] + 1}: _rlnOpticsGroup {own[lost[0]]:g} "
                "is not in data_optics"
            )
        return order[place].astype(np.int32)

    def column(self, name: str) -> Float64[np.ndarray, " n"] | None:
        """Return a numeric field of each particle, or None where neither table has it."""
        if name in self._optics_columns:
            return self._optics_columns[name][self.optics_group]
        return self._columns.get(name)

    def pixel_size(self) -> Float64[np.ndarray, " n"] | None:
        """Return Å per pixel: `rlnImagePixelSize`, or detector pixel (µm) over magnification."""
        size = self.column("rlnImagePixelSize")
        if size is None:
            detector, magnification = map(self.column, ("rlnDetectorPixelSize", "rlnMagnification"))
            if detector is None or magnification is None:
                return None
            size = 1e4 * detector / np.where(magnification > 0, magnification, np.nan)
        return self._finite("pixel size", size)

    def box(self) -> Int32[np.ndarray, " n"] | None:
        """Return the side of each image in pixels, or None if the file does not say."""
        size = self.column("rlnImageSize")
        if size is None:
            return None
        return np.rint(self._finite("rlnImageSize", size)).astype(np.int32)

    def rotation(self) -> Float32[np.ndarray, "n 3 3"] | None:
        """Return the rotations, or None without Euler angles."""
        angles = self._together(EULER)
        if angles is None:
            return None
        matrices = np.empty((len(angles), 3, 3), np.float32)
        # Some at a time: what is in between takes several times the memory of the result.
        for start in range(0, len(angles), _ANGLES):
            rows = slice(start, start + _ANGLES)
            matrices[rows] = euler_to_matrix(angles[rows])
        return matrices

    def shift(self, pixel_size: Float64[np.ndarray, " n"]) -> Float32[np.ndarray, "n 2"]:
        """Return where each particle centre lies in Å: minus the origin; zeros without origins."""
        origin = self._together(ORIGIN)
        if origin is None:
            in_pixels = self._together(ORIGIN_PIXELS)
            origin = None if in_pixels is None else in_pixels * pixel_size[:, None]
        if origin is None:
            return np.zeros((len(self), 2), np.float32)
        return (0.0 - origin).astype(np.float32)

    def ctf(self, overrides: Mapping[str, float] | None = None) -> CTFParameters | None:
        """Return the CTF parameters, or None if the file has no defocus.

        **Arguments:** `overrides`: values by field name, in place of those of the file.

        **Raises:** `InputError` for a missing column that has no natural value, and for NaN.
        """
        overrides = overrides or {}
        if self.column("rlnDefocusU") is None:
            return None
        fields = {}
        for field, (name, default) in CTF.items():
            values = self.column(name)
            if field in overrides:
                values = np.full(len(self), overrides[field], np.float64)
            elif values is None and default is None:
                raise InputError(
                    f"{self.path}: has _rlnDefocusU but no _{name}; add the column, or make a "
                    "ctf.pkl with parse-ctf-star and give it with --ctf"
                )
            elif values is None:
                values = np.full(len(self), default, np.float64)
            fields[field] = self._finite(name, values).astype(np.float32)
        if self.particle is not None:
            # Warp and M write the decay of a tilt image as a negative B factor.
            fields["bfactor"] = np.abs(fields["bfactor"])
        return CTFParameters(**fields)

    def ctf_applied(self) -> Bool[np.ndarray, " n"] | None:
        """Say which images are multiplied by their CTF already, or None if none is."""
        flag = self.column(PREMULTIPLIED)
        return None if flag is None or not (flag == 1).any() else flag == 1

    def half_set(self) -> Int8[np.ndarray, " n"] | None:
        """Return half sets 0 and 1 from `rlnRandomSubset` 1 and 2, or None if it is not split."""
        subset = self.column("rlnRandomSubset")
        if subset is None or not np.isin(subset, (1, 2)).all():
            return None
        return (subset - 1).astype(np.int8)

    @cached_property
    def particle(self) -> Int64[np.ndarray, " n"] | None:
        """The particle that each image of a tilt series shows, or None for single particles.

        `rlnGroupName` names the particle where the images of a group all differ in dose, or else
        in scale as tilts do; in single particle files the same column names groups of micrographs,
        many images of one dose and scale each.
        """
        group = self._columns.get(_GROUP)
        if group is None:
            return None
        dose, scale = self._dose(), self.column("rlnCtfScalefactor")
        is_series = dose is not None and differs_within(group, dose)
        if not is_series and scale is not None:
            is_series = falls_as_in_tilts(group, scale)
        return group if is_series else None

    def dose(self) -> Float32[np.ndarray, " n"] | None:
        """Return the dose in e/Å² before each image of a tilt series, or None."""
        dose = self._dose()
        if dose is None or self.particle is None or not differs_within(self.particle, dose):
            return None
        return dose.astype(np.float32)

    def _dose(self) -> np.ndarray | None:
        exposure = self.column("rlnMicrographPreExposure")
        if exposure is not None:
            return exposure
        # Warp and M: a B factor of −4 Å² per e/Å².
        bfactor = self.column("rlnCtfBfactor")
        return None if bfactor is None or (bfactor > 0).any() else -bfactor / 4

    def images(self) -> tuple[list[str], Int32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Return the distinct stack names, and for each particle its stack and 0-based image."""
        names = self._columns.get(_IMAGE)
        if names is None:
            raise InputError(f"{self.path}: data_{self.table.name} has no _{_IMAGE} column")
        if names.fault is not None:
            row, name = names.fault
            raise InputError(
                f"{self.path}: row {row + 1}: _{_IMAGE} is {name!r}; "
                "expected number@stack, counted from 1"
            )
        return list(names.stacks), names.stack_id, names.image_index

    def _together(self, names: Sequence[str]) -> Float64[np.ndarray, "n k"] | None:
        """Return columns side by side, or None if one is missing."""
        columns = [self._columns[name] for name in names if name in self._columns]
        if len(columns) < len(names):
            return None
        for name, values in zip(names, columns, strict=True):
            self._finite(name, values)
        return np.stack(columns, axis=-1)

    def _finite(self, name: str, values: np.ndarray) -> np.ndarray:
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise InputError(
                f"{self.path}: row {bad[0] + 1}: {name} is not a finite number "
                f"({bad.size} rows in all); mend or remove them"
            )
        return values
