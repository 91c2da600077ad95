"""Read the arrays of a PyTorch checkpoint without PyTorch and without running what it says.

A checkpoint is a zip file: one pickle that describes tensors, one raw file a storage. The pickle
is run with a vocabulary of tensors, dicts, lists, tuples, numbers and strings.
"""

import os
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.pickles import PlainUnpickler, Refused

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
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"), encoding="utf-8")
        self._archive, self._folder = archive, folder
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
        kind, marker, key, _location, count = identity
        if kind != "storage" or not isinstance(marker, _Marker):
            raise Refused(str(kind))
        if key not in self._storages:
            raw = self._archive.read(f"{self._folder}/data/{key}")
            self._storages[key] = np.frombuffer(raw, marker.dtype, count)
        return self._storages[key]


def read_torch_archive(path: str | os.PathLike) -> Any:
    """Read a PyTorch checkpoint (zip format, PyTorch ≥ 1.6).

    **Returns:** what was saved, tensors as NumPy arrays.

    **Raises:** `InputError` if the file is missing, broken, or asks for anything but tensors and
    plain containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{path}: not a PyTorch checkpoint (no data.pkl inside)")
            return _TensorUnpickler(archive, pickles[0].removesuffix("/data.pkl")).load()
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
        raise InputError(f"{path}: not a PyTorch checkpoint (zip format, PyTorch ≥ 1.6)") from None
    except Exception as error:
        # A broken pickle can fail in any way the machine it describes can.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable PyTorch checkpoint ({reason})") from None
