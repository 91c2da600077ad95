"""Options that take several values, as the field writes them: `--anchors 10 20 30`, `-z 0 -1.5`.

Click repeats the option for each value; this spreads the words so that it can.
"""

import inspect
import typing
from collections.abc import Callable, Sequence


def list_options(function: Callable) -> set[str]:
    """Name the options of a command that collect a list."""
    found: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        inner, *metadata = typing.get_args(parameter.annotation) or (None,)
        kinds = (inner, *typing.get_args(inner))
        if any(typing.get_origin(kind) is list for kind in kinds):
            for info in metadata:
                # Inside Annotated, Typer takes the first name for the default until it is used.
                names = (getattr(info, "default", None), *(getattr(info, "param_decls", ()) or ()))
                found.update(n for n in names if isinstance(n, str) and n.startswith("-"))
    return found


def spread_lists(words: Sequence[str], function: Callable) -> list[str]:
    """Repeat a list option before each of its values; leave all other words alone.

    A value is any word up to the next option; a negative number is a value. `-1` in place of an
    epoch, which Click would take for an option, becomes `last`.
    """
    names = list_options(function)
    has_epoch = "epoch" in inspect.signature(function).parameters
    spread: list[str] = []
    collecting: str | None = None
    for word in words:
        if word in names:
            collecting = word
        elif collecting is not None and (not word.startswith("-") or _is_number(word)):
            spread += [collecting, word]
        else:
            collecting = None
            spread.append("last" if has_epoch and word == "-1" else word)
    return spread


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
