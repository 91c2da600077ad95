"""The state of a search in a file, so that it goes on after it was stopped or killed."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vitreous.files import atomic_path
from vitreous.simulation.matching.search import Maps

logger = logging.getLogger(__name__)


def save_maps(path: Path, word: str, maps: Maps, done: int) -> None:
    """Write the maps and the number of orientations they hold, in one step.

    **Arguments:** `word`: fingerprint of everything the search depends on.
    """
    with atomic_path(path) as temporary:
        arrays: dict[str, Any] = {
            name: np.asarray(column) for name, column in zip(maps._fields, maps, strict=True)
        }
        np.savez(temporary, word=word, done=done, **arrays)


def read_maps(path: Path, word: str, empty: Maps) -> tuple[Maps, int]:
    """Read the state of the same search, or begin with empty maps.

    **Returns:** the maps, and how many orientations they hold.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["word"]) != word:
                logger.warning("%s: of another search; it begins anew", path)
                return empty, 0
            maps = Maps(*(jnp.asarray(file[name]) for name in Maps._fields))
            return maps, int(file["done"])
    except FileNotFoundError:
        return empty, 0
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("%s: cannot be read (%s); the search begins anew", path, error)
        return empty, 0
