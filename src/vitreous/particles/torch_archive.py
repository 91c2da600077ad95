"""Read the arrays of a PyTorch checkpoint without PyTorch and without running what it says.

A checkpoint is a zip file: one pickle that describes tensors, one raw file a storage. Before
PyTorch 1.6 it was one stream: pickles of a magic number, a version, the machine, the tensors and
the keys of the storages, then the storages, each after its length. The pickle is run with a
vocabulary of tensors, dicts, lists, tuples, numbers and strings.
"""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.pickles import PlainUnpickler, Refused

# Protocol 2 and PyTorch's magic number, pickled.
_STREAM_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """Stand for `_rebuild_tensor_v2`: a copy of a strided view, bounds checked."""
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if offset < 0 or min(stride, default=0) < 0 or last >= len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    step = storage.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], tuple(size), tuple(s * step for s in stride)
    )
    return view.copy()


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    """Stand for `_rebuild_parameter`."""
    return tensor


class _Marker:
    """Stand for a storage class."""

    def __init__(self, dtype: type) -> None:
        self.dtype = np.dtype(dtype)


class _TensorUnpickler(PlainUnpickler):
    """Unpickle tensors; `fetch` gives the array of a storage by key, dtype and length."""

    def __init__(
        self, file: io.BufferedIOBase, fetch: Callable[[str, np.dtype, int], np.ndarray]
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._fetch = fetch
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _STORAGES:
            return _Marker(_STORAGES[name])
        return super().find_class(module, name)

    def persistent_load(self, identity: Any) -> np.ndarray:
        kind, marker, key, _location, count, *view = identity
        if kind != "storage" or not isinstance(marker, _Marker) or any(view):
            raise Refused(str(kind))
        if key not in self._storages:
            self._storages[key] = self._fetch(key, marker.dtype, count)
        return self._storages[key]


def _read_zip(path: str | os.PathLike) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"{path}: not a PyTorch checkpoint (no data.pkl inside)")
        folder = pickles[0].removesuffix("/data.pkl")

        def fetch(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}/data/{key}"), dtype, count)

        return _TensorUnpickler(io.BytesIO(archive.read(pickles[0])), fetch).load()


def _read_stream(file: io.BufferedIOBase) -> Any:
    """Read the format before PyTorch 1.6, whose storages follow the pickle that names them."""
    size = os.fstat(file.fileno()).st_size
    for _ in ("magic number", "version", "machine"):
        PlainUnpickler(file).load()
    begin = file.tell()
    kinds: dict[str, np.dtype] = {}

    def learn(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if count * dtype.itemsize > size:
            raise pickle.UnpicklingError("a storage is longer than the file")
        kinds[key] = dtype
        return np.zeros(count, dtype)

    _TensorUnpickler(file, learn).load()
    storages = {}
    for key in PlainUnpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key], count)
    file.seek(begin)
    return _TensorUnpickler(file, lambda key, *_: storages[key]).load()


def _is_stream(path: str | os.PathLike) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_STREAM_MAGIC)) == _STREAM_MAGIC


def read_torch_archive(path: str | os.PathLike) -> Any:
    """Read a PyTorch checkpoint, of the zip format (PyTorch ≥ 1.6) or the stream before it.

    **Returns:** what was saved, tensors as NumPy arrays.

    **Raises:** `InputError` if the file is missing, broken, or asks for anything but tensors and
    plain containers.
    """
    try:
        if _is_stream(path):
            with open(path, "rb") as file:
                return _read_stream(file)
        return _read_zip(path)
    except InputError:
        raise
    except Refused as refused:
        raise InputError(
            f"{path}: refused: the checkpoint asks for {refused}, which can run code; only "
            "tensors, dicts, lists and numbers are read"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile:
        raise InputError(f"{path}: not a PyTorch checkpoint") from None
    except Exception as error:
        # A broken pickle can fail in any way the machine it describes can.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable PyTorch checkpoint ({reason})") from None
