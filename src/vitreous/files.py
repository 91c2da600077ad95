"""Write files so that a reader never sees half of one."""

import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vitreous.errors import InputError


def is_writer() -> bool:
    """Whether this process writes files: the only one, or the first of several."""
    # Where JAX was not even imported there are no others.
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to `path` if the block succeeds.

    The suffix is kept, so writers that look at it still work. On any error, Ctrl-C included,
    the temporary file is removed and `path` stays as it was. Missing folders are made. Of
    several processes, which all make the same, only the first keeps it.

    **Raises:** `InputError` if the folder cannot be written or the disk is full.

    ```python
    with atomic_path("map.mrc") as temporary:
        write(temporary)
    ```
    """
    path = Path(path)
    if not is_writer():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
        return
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path), str(path.parent)):
            raise
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # Where the folder could not be made there is nothing to remove.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in one step (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
