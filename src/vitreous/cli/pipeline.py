"""Tell RELION's pipeline how a job ended, by the files it looks for in the job's folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vitreous.errors import Interrupted
from vitreous.files import is_writer

_PREFIX = "RELION_JOB_EXIT_"


@contextlib.contextmanager
def relion_job(folder: Path | None) -> Iterator[None]:
    """Leave `RELION_JOB_EXIT_SUCCESS`, `_FAILURE` or `_ABORTED` in a folder when the work ends.

    **Arguments:** `folder`: None for no job. One that is not there at the end gets no file.
    """
    if folder is None:
        yield
        return
    for old in folder.glob(f"{_PREFIX}*"):
        old.unlink(missing_ok=True)
    word = "FAILURE"
    try:
        yield
        word = "SUCCESS"
    except (Interrupted, KeyboardInterrupt):
        word = "ABORTED"
        raise
    finally:
        # Of several processes any may fail, but the first is the last to be done.
        if folder.is_dir() and (is_writer() or word != "SUCCESS"):
            (folder / f"{_PREFIX}{word}").touch()
