"""Values to JSON, with large arrays laid aside."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.serialisation.classes import CLASSES, field_names, find_class

# Arrays of more numbers than this are written to a file of their own by `dump`.
INLINE = 64


class Writer:
    """Turn values into JSON, laying large arrays aside if there is a place for them."""

    def __init__(self, stem: str | None, maps: bool = False) -> None:
        self.stem, self.as_maps = stem, maps
        self.arrays: dict[str, np.ndarray] = {}
        self.maps: dict[str, tuple[np.ndarray, float]] = {}

    def encode(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return _number(value)
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            return self._array(value, path)
        name = type(value).__name__
        if CLASSES.get(name) and find_class(name, path) is type(value):
            names = field_names(type(value))
            is_map = name == "VoxelVolume" and self.as_maps and self.stem is not None
            fields = {
                n: self._map(value)
                if is_map and n == "density"
                else self.encode(getattr(value, n), f"{path}.{n}")
                for n in names
            }
            return {"class": name, "fields": fields}
        if type(value) in (list, tuple):
            items = [self.encode(v, f"{path}[{i}]") for i, v in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return {"dict": {key: self.encode(v, f"{path}.{key}") for key, v in value.items()}}
        raise InputError(f"{path}: a {name} cannot be written as JSON; replace it or leave it out")

    def _map(self, volume: Any) -> dict:
        name = f"{self.stem}.{len(self.maps)}.mrc"
        self.maps[name] = np.asarray(volume.density, np.float32), float(volume.voxel_size)
        return {"dtype": "float32", "shape": list(volume.density.shape), "file": name}

    def _array(self, value: Any, path: str) -> dict:
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            raise InputError(f"{path}: a random key cannot be written as JSON; leave it out")
        array = np.asarray(value)
        node: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
        if isinstance(value, np.ndarray | np.generic):
            node["host"] = True
        if self.stem is not None and array.size > INLINE:
            key = f"array{len(self.arrays)}"
            self.arrays[key] = array
            return node | {"file": f"{self.stem}.npz", "key": key}
        if np.iscomplexobj(array):
            array = np.stack([array.real, array.imag], axis=-1)
        return node | {"array": [_number(x) for x in array.ravel().tolist()]}


def _number(value: Any) -> Any:
    """Write what JSON has no number for as a word."""
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    return value
