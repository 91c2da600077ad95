"""Find image stacks that metadata files name by relative paths."""

import os
from collections.abc import Sequence
from pathlib import Path

from vitreous.errors import InputError


def resolve_stacks(
    names: Sequence[str], parent: Path, datadir: str | os.PathLike | None
) -> tuple[str, ...]:
    """Turn stack names, as a `.star`, `.cs` or `.txt` file gives them, into absolute paths.

    The first of these that exists is taken: the name as it is (absolute, or relative to the
    current folder), `datadir/name`, `datadir/` and the file name alone, and the name relative to
    a folder above `parent` (a project's root). `datadir` is the folder of `parent` by default.

    Names that lead nowhere are kept as they are, since poses can be read without images; with an
    explicit `datadir` the images are wanted.

    **Raises:** `InputError` if `datadir` is given and a stack is not found, naming what was tried.
    """
    folder = Path(datadir) if datadir is not None else parent.absolute().parent
    if datadir is not None and not folder.is_dir():
        raise InputError(f"--datadir {datadir}: no such folder")
    resolved = []
    for name in names:
        found = find_file(name, parent, datadir)
        if found is None and datadir is not None:
            raise InputError(missing_stack(name, parent, datadir))
        resolved.append(name if found is None else str(found))
    return tuple(resolved)


def find_file(name: str, parent: Path, datadir: str | os.PathLike | None = None) -> Path | None:
    """Find one file that `parent` names, where `resolve_stacks` looks; None if it is not there."""
    folder = Path(datadir) if datadir is not None else parent.absolute().parent
    found = next((p for p in _candidates(name, folder, parent) if os.path.isfile(p)), None)
    return None if found is None else Path(os.path.abspath(found))


def leads_to(name: str, parent: Path, stack: str) -> bool:
    """Whether a reader of `parent`, in whatever folder, takes `name` for the file `stack`."""
    tried = _candidates(name, parent.absolute().parent, parent)
    if not os.path.isabs(name):
        # The current folder is the writer's, not the reader's.
        tried = tried[1:]
    found = next((p for p in tried if os.path.isfile(p)), None)
    return found is not None and os.path.samefile(found, stack)


def missing_stack(name: str, parent: Path | None, datadir: str | os.PathLike | None = None) -> str:
    """Word the error for a stack that is not there: who named it, what was tried, the mend."""
    named = f" (named in {parent})" if parent is not None else ""
    if os.path.isabs(name) and datadir is None:
        return f"{name}{named}: no such file; give the folder of the stacks with --datadir"
    folder = datadir if datadir is not None else (parent.parent if parent is not None else ".")
    tried = [os.path.join(os.getcwd(), name), os.path.join(folder, name)]
    tried.append(os.path.join(folder, os.path.basename(name)))
    return (
        f"{name}{named}: no such file; tried {', '.join(dict.fromkeys(tried))}; "
        "give the folder of the stacks with --datadir"
    )


def _candidates(name: str, folder: Path, parent: Path) -> list[str]:
    tried = [name, os.path.join(folder, name), os.path.join(folder, os.path.basename(name))]
    if not os.path.isabs(name):
        tried += [os.path.join(above, name) for above in parent.absolute().parents]
    return tried
