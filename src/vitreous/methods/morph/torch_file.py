"""Write arrays as a PyTorch checkpoint without PyTorch: a dict of names and float32 tensors.

The zip format of PyTorch ≥ 1.6: one pickle that describes the tensors, one raw file for each.
`particles.torch_archive` reads it back; `torch.load` does too.
"""

import io
import os
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from vitreous.files import atomic_path

_EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _text(word: str) -> bytes:
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_integer(v) for v in values) + b"t"


def _tensor(key: int, array: np.ndarray) -> bytes:
    """Call `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`."""
    strides = tuple(s // array.itemsize for s in array.strides)
    storage = _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(key)) + _text("cpu")
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + b"(" + storage + _integer(array.size) + b"tQ"
        + _integer(0) + _tuple(array.shape) + _tuple(strides) + b"\x89" + _EMPTY_ORDERED_DICT
        + b"tR"
    )  # fmt: skip


def write_torch_file(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays in one step.

    **Arguments:** `notes`: text files to put beside the tensors; PyTorch passes over them.
    """
    kept = {name: np.ascontiguousarray(a, "<f4") for name, a in arrays.items()}
    pickled = io.BytesIO()
    pickled.write(b"\x80\x02" + _EMPTY_ORDERED_DICT + b"(")
    for key, (name, array) in enumerate(kept.items()):
        pickled.write(_text(name) + _tensor(key, array))
    pickled.write(b"u.")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(kept.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
        for name, text in (notes or {}).items():
            archive.writestr(f"archive/{name}", text)
