"""MRC headers and pixels: modes 0, 1, 2, 4, 6 and 12, both byte orders (MRC2014).

Pixels are read with `pread`, not a memory map: a map counts every page it has touched as
resident memory, and a file cut short while it is read kills the process instead of raising.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from mrcfile.dtypes import HEADER_DTYPE

from vitreous.errors import InputError

HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_Order = Literal["<", ">"]
_Triple = tuple[float, float, float]
_STAMPS: dict[bytes, _Order] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
_ORDERS: dict[_Order, tuple[_Order, _Order]] = {"<": ("<", ">"), ">": (">", "<")}
_LARGEST_SIDE = 1 << 26


@dataclass(frozen=True)
class MrcHeader:
    """Say what an MRC file holds and where.

    Fields: `shape` is `(nz, ny, nx)` as stored; `dtype` carries the byte order; `offset` is the
    byte at which pixels start; `voxel_size` is `(x, y, z)` in Å, 0 where unset; `origin` is
    `(x, y, z)` in Å; `axes` gives the axis (1 x, 2 y, 3 z) of columns, rows and sections.
    """

    path: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    voxel_size: _Triple
    origin: _Triple
    axes: tuple[int, int, int]

    @property
    def image_bytes(self) -> int:
        """The size of one section in bytes."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def data_bytes(self) -> int:
        """The size of all sections in bytes."""
        return self.shape[0] * self.image_bytes


def parse_header(raw: bytes, path: str | os.PathLike) -> MrcHeader:
    """Read the first 1024 bytes of a file as an MRC header.

    The machine stamp says the byte order; files without a valid stamp are read in the order that
    gives a known mode and a possible shape.

    **Raises:** `InputError` if neither order does.
    """
    order, record, shape = _parsed(raw, path)
    return MrcHeader(
        path=str(path),
        shape=shape,
        dtype=np.dtype(_MODES[int(record["mode"])]).newbyteorder(order),
        offset=HEADER_BYTES + int(record["nsymbt"]),
        voxel_size=_voxel_size(record, shape),
        origin=_origin(record, shape),
        axes=_axes(record),
    )


def _parsed(raw: bytes, path: str | os.PathLike) -> tuple[_Order, np.void, tuple[int, int, int]]:
    """Find the byte order that makes sense of a header; return it, the record and the shape."""
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{path}: not an MRC file: {len(raw)} bytes, a header has {HEADER_BYTES}")
    stamped = _STAMPS.get(raw[212:214], "<")
    for order in _ORDERS[stamped]:
        record = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)[0]
        shape = (int(record["nz"]), int(record["ny"]), int(record["nx"]))
        possible = all(0 < side <= _LARGEST_SIDE for side in shape) and record["nsymbt"] >= 0
        if possible and int(record["mode"]) in _MODES:
            return order, record, shape
        if possible and order == stamped and raw[208:212] == b"MAP ":
            raise InputError(
                f"{path}: MRC mode {int(record['mode'])} is not supported; "
                f"convert it to one of the modes {', '.join(map(str, _MODES))}"
            )
    raise InputError(f"{path}: not an MRC file (no byte order gives a valid header)")


def read_header(path: str | os.PathLike) -> MrcHeader:
    """Read the header of an uncompressed MRC file and check it against the size of the file.

    **Raises:** `InputError` if the file is missing, not MRC, or shorter than its header says.
    """
    try:
        with open(path, "rb") as handle:
            raw = handle.read(HEADER_BYTES)
            size = os.fstat(handle.fileno()).st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    header = parse_header(raw, path)
    if size < header.offset + header.data_bytes:
        raise InputError(
            f"{path}: truncated: the header promises {header.shape[0]} sections of "
            f"{header.shape[2]}×{header.shape[1]} {header.dtype.name} "
            f"({header.offset + header.data_bytes} bytes), the file has {size}; copy it again"
        )
    return header


def read_sections(path: str | os.PathLike) -> tuple[MrcHeader, np.ndarray]:
    """Read a whole file, gzip-compressed or not, in its stored type and axis order.

    **Returns:** the header, and an array of shape `header.shape`, native byte order.
    """
    if _is_gzip(path):
        try:
            with gzip.open(path) as compressed:
                raw = compressed.read()
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: truncated or damaged gzip file: {error}") from error
        header = parse_header(raw[:HEADER_BYTES], path)
        if len(raw) < header.offset + header.data_bytes:
            raise InputError(f"{path}: truncated: fewer sections than its header promises")
        pixels = np.frombuffer(raw, header.dtype, int(np.prod(header.shape)), header.offset)
    else:
        header = read_header(path)
        pixels = np.fromfile(path, header.dtype, int(np.prod(header.shape)), offset=header.offset)
    return header, pixels.reshape(header.shape).astype(header.dtype.newbyteorder("="))


def build_header(
    shape: tuple[int, int, int],
    voxel_size: float,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    is_volume: bool = False,
    statistics: tuple[float, float, float, float] = (0.0, -1.0, -2.0, -1.0),
) -> bytes:
    """Make the header of a little-endian float32 file.

    **Arguments:** `shape` is `(nz, ny, nx)`; `statistics` is minimum, maximum, mean and standard
    deviation (the default says "unknown" in the way of MRC2014).
    """
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = shape
    mz = nz if is_volume else 1
    header["nx"], header["ny"], header["nz"] = nx, ny, nz
    header["mode"] = 2
    header["mx"], header["my"], header["mz"] = nx, ny, mz
    header["cella"]["x"] = voxel_size * nx
    header["cella"]["y"] = voxel_size * ny
    header["cella"]["z"] = voxel_size * mz
    for angle in ("alpha", "beta", "gamma"):
        header["cellb"][angle] = 90
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = int(is_volume)
    header["origin"]["x"], header["origin"]["y"], header["origin"]["z"] = origin
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = statistics
    header["nversion"] = 20140
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = b"vitreous".ljust(80)
    return header.tobytes()


def header_with_voxel_size(raw: bytes, path: str | os.PathLike, voxel_size: float) -> bytes:
    """Return a header that says another voxel size (Å, on every axis); all else stays.

    **Raises:** `InputError` as `parse_header`.
    """
    order, _, shape = _parsed(raw, path)
    record = np.frombuffer(raw[:HEADER_BYTES], HEADER_DTYPE.newbyteorder(order), 1).copy()
    for axis, side in zip("zyx", shape, strict=True):
        intervals = int(record[f"m{axis}"][0]) or side
        record[f"m{axis}"] = intervals
        record["cella"][axis] = voxel_size * intervals
    return record.tobytes() + raw[HEADER_BYTES:]


def as_float32(pixels: np.ndarray, path: str | os.PathLike) -> Float32[np.ndarray, "..."]:
    """Turn stored pixels into float32; Fourier transforms (mode 4) are refused."""
    if pixels.dtype.kind == "c":
        raise InputError(f"{path}: holds Fourier transforms (MRC mode 4); give real-space images")
    return pixels.astype(np.float32, copy=False)


def _is_gzip(path: str | os.PathLike) -> bool:
    try:
        with Path(path).open("rb") as handle:
            return handle.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _voxel_size(record: np.void, shape: tuple[int, int, int]) -> _Triple:
    def along(axis: str, intervals: str, side: int) -> float:
        # Files without a sampling (mx = 0) mean one cell edge over the whole array. Seven digits
        # are all that float32 holds: 1.31, not 1.309999942779541.
        return float(f"{record['cella'][axis] / (int(record[intervals]) or side):.7g}")

    return along("x", "mx", shape[2]), along("y", "my", shape[1]), along("z", "mz", shape[0])


def _origin(record: np.void, shape: tuple[int, int, int]) -> _Triple:
    x, y, z = (float(record["origin"][axis]) for axis in "xyz")
    if x or y or z:
        return x, y, z
    # CCP4 style: the first column, row and section are counted in voxels from the cell origin.
    start = dict(zip(_axes(record), (int(record[f"n{a}start"]) for a in "xyz"), strict=True))
    size = _voxel_size(record, shape)
    return start[1] * size[0], start[2] * size[1], start[3] * size[2]


def _axes(record: np.void) -> tuple[int, int, int]:
    axes = (int(record["mapc"]), int(record["mapr"]), int(record["maps"]))
    return axes if sorted(axes) == [1, 2, 3] else (1, 2, 3)
