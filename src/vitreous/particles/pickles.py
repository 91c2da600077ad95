"""Read pickles that hold nothing but plain arrays; anything else is refused by name.

A pickle is a program. This reader runs it with a vocabulary of NumPy arrays, scalars and dtypes,
tuples, lists, dicts, numbers and strings: enough for every data file of the field.
"""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand for `_codecs.encode`, which protocol 2 uses to write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in encoding {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stand for `bytes`, which protocols below 3 use to write an empty one."""
    return b""


def _empty_array(kind: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Stand for NumPy's `_reconstruct`: an array that its state will fill."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("a subclass of ndarray")
    return np.ndarray(shape, "V1" if np.dtype(dtype).hasobject else dtype)


def _scalar(dtype: np.dtype, raw: bytes | str) -> np.generic:
    """Stand for NumPy's `scalar`."""
    return np.frombuffer(_latin1(raw) if isinstance(raw, str) else raw, dtype, 1)[0]


def _array_from_buffer(
    buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any, axes: Any = None
) -> np.ndarray:
    """Stand for NumPy's `_frombuffer`, which protocol 5 uses."""
    flat = np.frombuffer(buffer, dtype)
    if order == "K" and axes is not None:
        return flat.reshape(shape, order="C").transpose(axes)
    return flat.reshape(shape, order=order)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("builtins", "bytes"): _no_bytes,
    ("builtins", "complex"): complex,
}
_PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
for _core in ("core", "_core"):
    _ALLOWED[f"numpy.{_core}.multiarray", "_reconstruct"] = _empty_array
    _ALLOWED[f"numpy.{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"numpy.{_core}.numeric", "_frombuffer"] = _array_from_buffer

_PLAIN = (int, float, complex, str, bytes, type(None))


class Refused(Exception):
    """Name what a pickle asked for and must not have."""


class PlainUnpickler(pickle.Unpickler):
    """Unpickle with the vocabulary of plain arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        module = _PYTHON_2_NAMES.get(module, module)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def load_pickles(path: str | os.PathLike) -> list[Any]:
    """Load every pickle in a file, one after the other.

    **Returns:** the objects, in order; cryoDRGN's `z.N.pkl` holds two (mean, log variance).

    **Raises:** `InputError` if the file is missing, broken, or asks for anything but plain arrays.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    stream, objects = io.BytesIO(raw), []
    try:
        while stream.tell() < len(raw):
            objects.append(_plain(PlainUnpickler(stream, encoding="latin1").load()))
    except Refused as refused:
        raise InputError(
            f"{path}: refused: the pickle asks for {refused}, which can run code; "
            "only NumPy arrays, tuples, lists, dicts and numbers are read"
        ) from None
    except Exception as error:
        # A broken pickle can fail in any way the machine it describes can.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable pickle ({reason})") from None
    if not objects:
        raise InputError(f"{path}: is empty")
    return objects


def load_pickle(path: str | os.PathLike) -> Any:
    """Load the first pickle of a file: plain arrays, tuples, lists, dicts and numbers only.

    **Raises:** `InputError` as `load_pickles`.
    """
    return load_pickles(path)[0]


def save_pickles(path: str | os.PathLike, *objects: Any) -> None:
    """Write plain objects as pickles, one after the other, in one step."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        for thing in objects:
            pickle.dump(_plain(thing), handle, protocol=4)


def _plain(thing: Any) -> Any:
    """Return the object if it is plain all the way down."""
    if isinstance(thing, np.ndarray | np.generic):
        if thing.dtype.hasobject:
            raise Refused("arrays of Python objects")
    elif isinstance(thing, dict):
        for key, value in thing.items():
            _plain(key)
            _plain(value)
    elif isinstance(thing, tuple | list):
        for item in thing:
            _plain(item)
    elif not isinstance(thing, _PLAIN):
        raise Refused(f"{type(thing).__module__}.{type(thing).__qualname__}")
    return thing
