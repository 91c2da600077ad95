"""What cryoSPARC `.cs` files say about particles, their passthrough files included."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int32, Int64

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.imaging.ctf import CTFParameters

# Field of `CTFParameters` → column, factor, and the value that a missing column stands for.
CTF: dict[str, tuple[str, float, float | None]] = {
    "defocus_u": ("ctf/df1_A", 1.0, None),
    "defocus_v": ("ctf/df2_A", 1.0, None),
    "defocus_angle": ("ctf/df_angle_rad", 180 / np.pi, None),
    "voltage": ("ctf/accel_kv", 1.0, None),
    "spherical_aberration": ("ctf/cs_mm", 1.0, None),
    "amplitude_contrast": ("ctf/amp_contrast", 1.0, None),
    "phase_shift": ("ctf/phase_shift_rad", 180 / np.pi, 0.0),
    "bfactor": ("ctf/bfactor", 1.0, 0.0),
    "scale": ("ctf/scale", 1.0, 1.0),
}
_HEADER_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class CsData:
    """Hold a `.cs` table with its passthrough fields joined in."""

    table: np.ndarray
    path: Path

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> np.ndarray | None:
        """Return one field, or None where the file does not have it."""
        return self.table[name] if name in (self.table.dtype.names or ()) else None

    def pixel_size(self) -> Float64[np.ndarray, " n"] | None:
        """Return Å per pixel of each image as stored, or None."""
        size = self.column("blob/psize_A")
        if size is None:
            return None
        # The field is float32: its seven digits, not the noise behind them.
        distinct, place = np.unique(self._finite("blob/psize_A", size), return_inverse=True)
        return np.array([float(str(value)) for value in distinct])[place]

    def box(self) -> Int32[np.ndarray, " n"] | None:
        """Return the side of each image in pixels, or None."""
        shape = self.column("blob/shape")
        if shape is None:
            return None
        odd = np.flatnonzero(shape[:, 0] != shape[:, 1])
        if odd.size:
            raise InputError(f"{self.path}: row {odd[0] + 1}: blob/shape is not square")
        return shape[:, 0].astype(np.int32)

    def alignments(self) -> str | None:
        """Return the prefix of the pose fields: `alignments3D`, else `alignments_class_0`."""
        prefixes = ("alignments3D", "alignments_class_0")
        return next((p for p in prefixes if self.column(f"{p}/pose") is not None), None)

    def rotation(self, prefix: str | None = None) -> Float32[np.ndarray, "n 3 3"] | None:
        """Return the rotations: the transpose of `exp([ω]×)`; None without poses."""
        prefix = prefix or self.alignments()
        if prefix is None:
            return None
        vector = self._finite(f"{prefix}/pose", self._required(f"{prefix}/pose"))
        matrix = rotation_vector_to_matrix(np.degrees(vector.astype(np.float64)))
        return np.swapaxes(matrix, -1, -2).astype(np.float32)

    def shift(
        self, pixel_size: Float64[np.ndarray, " n"], prefix: str | None = None
    ) -> Float32[np.ndarray, "n 2"]:
        """Return where each particle centre lies in Å: minus the shift, at its own sampling.

        Shifts are in pixels of `psize_A` of the alignment where it is set, which need not be
        that of the stored image.
        """
        prefix = prefix or self.alignments()
        if prefix is None:
            return np.zeros((len(self), 2), np.float32)
        shift = self._finite(f"{prefix}/shift", self._required(f"{prefix}/shift"))
        sampling = self.column(f"{prefix}/psize_A")
        if sampling is not None:
            pixel_size = np.where(sampling > 0, sampling, pixel_size)
        return (-shift * pixel_size[:, None] + 0.0).astype(np.float32)

    def ctf(self) -> CTFParameters | None:
        """Return the CTF parameters, or None if the file has no defocus."""
        if self.column("ctf/df1_A") is None:
            return None
        fields = {}
        for field, (name, factor, default) in CTF.items():
            values = self._required(name) if default is None else self.column(name)
            if values is None:
                values = np.full(len(self), default)
            fields[field] = (self._finite(name, values) * factor).astype(np.float32)
        return CTFParameters(**fields)

    def optics_group(self) -> Int32[np.ndarray, " n"]:
        """Return exposure groups, counted from 0 in order of their ids; 0 without them."""
        group = self.column("ctf/exp_group_id")
        if group is None:
            return np.zeros(len(self), np.int32)
        return np.unique(group, return_inverse=True)[1].astype(np.int32)

    def half_set(self) -> Int8[np.ndarray, " n"] | None:
        """Return the half sets of the refinement, or None if it was not split."""
        split = self.column("alignments3D/split")
        if split is None or not np.isin(split, (0, 1)).all() or len(np.unique(split)) < 2:
            return None
        return split.astype(np.int8)

    def sign(self) -> Int8[np.ndarray, " n"] | None:
        """Return −1 for images whose contrast is inverted as stored, or None if none is."""
        sign = self.column("blob/sign")
        if sign is None or not (sign < 0).any():
            return None
        return np.where(sign < 0, -1, 1).astype(np.int8)

    def images(self) -> tuple[list[str], Int32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Return the distinct stack names, and for each particle its stack and 0-based image."""
        paths, index = self._required("blob/path"), self._required("blob/idx")
        distinct, stack_id = np.unique(paths, return_inverse=True)
        names = [
            (name.decode() if isinstance(name, bytes) else str(name)).lstrip(">")
            for name in distinct.tolist()
        ]
        return names, stack_id.astype(np.int32), index.astype(np.int64)

    def _required(self, name: str) -> np.ndarray:
        values = self.column(name)
        if values is None:
            raise InputError(
                f"{self.path}: has no field {name}; put the job's *_passthrough_particles.cs "
                "beside it, or give it"
            )
        return values

    def _finite(self, name: str, values: np.ndarray) -> np.ndarray:
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.size:
            raise InputError(
                f"{self.path}: row {bad[0] + 1}: {name} is not a finite number "
                f"({bad.size} rows in all); remove them in cryoSPARC"
            )
        return values


def read_cs(
    path: str | os.PathLike,
    passthrough: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
) -> CsData:
    """Read a `.cs` file and join its passthrough fields by `uid`.

    **Arguments:** `passthrough`: files to join. By default `*passthrough_particles*.cs` beside
    the file, where images, CTF or poses are missing from it and the uids agree.

    **Raises:** `InputError` if a file is not a `.cs` table or a given one lacks particles.
    """
    path = Path(path)
    table = load_cs(path)
    if passthrough is None:
        for candidate in _passthroughs_beside(path, table):
            extra = load_cs(candidate)
            if _covers(extra, table):
                table = _join_fields(table, extra)
    else:
        given = [passthrough] if isinstance(passthrough, str | os.PathLike) else passthrough
        for extra_path in given:
            extra = load_cs(extra_path)
            if not _covers(extra, table):
                raise InputError(f"{extra_path}: lacks some of the particles (uid) of {path}")
            table = _join_fields(table, extra)
    return CsData(table, path)


def load_cs(path: str | os.PathLike) -> np.ndarray:
    """Read one `.cs` file as a structured array, nothing joined.

    **Raises:** `InputError` if it is not a `.cs` table.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            magic = handle.read(6)
            if magic != b"\x93NUMPY":
                kind = "a compressed .cs (CSDAT)" if b"CSDAT" in magic else "not a .cs table"
                raise InputError(f"{path}: is {kind}; export it again from cryoSPARC as NumPy")
            handle.seek(0)
            # cryoSPARC writes hundreds of fields; NumPy's own limit guards `ast`, not memory.
            table = np.lib.format.read_array(
                handle, allow_pickle=False, max_header_size=_HEADER_BYTES
            )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            f"{path}: not a readable .cs table: {str(error).splitlines()[0]}"
        ) from None
    if table.dtype.names is None or table.ndim != 1:
        raise InputError(f"{path}: not a .cs table: it has no named fields")
    return table


def _passthroughs_beside(path: Path, table: np.ndarray) -> list[Path]:
    fields = table.dtype.names or ()
    is_whole = all(name in fields for name in ("blob/path", "ctf/df1_A", "alignments3D/pose"))
    if is_whole or "uid" not in fields:
        return []
    return sorted(p for p in path.parent.glob("*passthrough_particles*.cs") if p != path)


def _covers(extra: np.ndarray, table: np.ndarray) -> bool:
    names = extra.dtype.names or ()
    return "uid" in names and bool(np.isin(table["uid"], extra["uid"]).all())


def _join_fields(table: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Append the fields of `extra` that `table` lacks, matched by uid."""
    order = np.argsort(extra["uid"], kind="stable")
    rows = order[np.searchsorted(extra["uid"], table["uid"], sorter=order)]
    new = [name for name in extra.dtype.names or () if name not in (table.dtype.names or ())]
    kinds = [(name, table.dtype[name]) for name in table.dtype.names or ()]
    joined = np.empty(len(table), kinds + [(name, extra.dtype[name]) for name in new])
    for name in table.dtype.names or ():
        joined[name] = table[name]
    for name in new:
        joined[name] = extra[name][rows]
    return joined
