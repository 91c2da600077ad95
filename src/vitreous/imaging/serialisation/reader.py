"""JSON to values; every name is checked against the table of classes."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.serialisation.classes import field_names, find_class


class Reader:
    """Turn JSON back into values; every name is checked against the table of classes."""

    def __init__(self, where: str, folder: Path | None) -> None:
        self.where, self.folder = where, folder
        self.files: dict[str, dict[str, np.ndarray]] = {}

    def decode(self, node: Any) -> Any:
        if node in ("inf", "-inf", "nan"):
            return float(node)
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if isinstance(node, dict):
            if "class" in node:
                return self._module(node)
            if "dtype" in node:
                return self._array(node)
            if "tuple" in node:
                return tuple(self.decode(item) for item in node["tuple"])
            if "dict" in node:
                return {key: self.decode(item) for key, item in node["dict"].items()}
        raise InputError(f"{self.where}: holds an entry that is not part of a model: {node!r:.80}")

    def _module(self, node: dict) -> Any:
        kind = find_class(str(node["class"]), self.where)
        given, names = node.get("fields", {}), field_names(kind)
        missing = [n for n in names if n not in given]
        foreign = [n for n in given if n not in names]
        if missing or foreign:
            what = f"lacks {missing[0]!r}" if missing else f"has an unknown field {foreign[0]!r}"
            raise InputError(f"{self.where}: the {kind.__name__} {what}")
        values = {n: self.decode(given[n]) for n in names}
        if issubclass(kind, tuple):
            return kind(**values)
        # Not by the constructor: it may compute, and a leaf may be a transform.
        module = object.__new__(kind)
        for name, value in values.items():
            object.__setattr__(module, name, value)
        return module

    def _array(self, node: dict) -> Any:
        try:
            dtype, shape = np.dtype(node["dtype"]), tuple(node["shape"])
            if dtype.kind not in "fciub":
                raise ValueError(f"no arrays of {dtype}")
            if "file" in node:
                array = self._stored(str(node["file"]), node.get("key")).astype(dtype)
            else:
                numbers = [float(x) if isinstance(x, str) else x for x in node["array"]]
                if dtype.kind == "c":
                    pairs = np.asarray(numbers, np.float64).reshape(-1, 2)
                    array = (pairs[:, 0] + 1j * pairs[:, 1]).astype(dtype)
                else:
                    array = np.asarray(numbers, dtype)
            array = array.reshape(shape)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{self.where}: an array is damaged ({error})") from error
        return array if node.get("host") else jnp.asarray(array)

    def _stored(self, name: str, key: str | None) -> np.ndarray:
        if self.folder is None:
            raise InputError(f"{self.where}: its arrays are in {name}; read it with load()")
        if Path(name).name != name:
            raise InputError(f"{self.where}: {name!r} does not stand beside it; refused")
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{self.where}: its arrays should be in {path}; no such file")
        if path.suffix == ".mrc":
            from vitreous.maps import read_map

            return read_map(path, pixel_size=1.0).data
        if name not in self.files:
            try:
                with np.load(path, allow_pickle=False) as archive:
                    self.files[name] = dict(archive)
            except (OSError, ValueError, BadZipFile) as error:
                raise InputError(f"{path}: not readable as arrays ({error})") from error
        return self.files[name][str(key)]
