"""Options that several commands share: a dataclass of them is one parameter of the command.

    @grouped
    def train(particles: ..., which: ParticleFlags, fit: FitFlags = FitFlags(epochs=5)) -> None:

`train --help` shows every field as an option, under the `panel` of its class; the function gets
the dataclasses filled. An instance as the parameter's default changes the defaults of its fields.
A field may be such a dataclass again.
"""

import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Spread the parameters that are dataclasses into one option a field.

    **Raises:** `TypeError` if two fields have the same name.
    """
    groups: dict[str, Any] = {}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            spread.extend(_options(groups[parameter.name], parameter.default))
        else:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    names = [parameter.name for parameter in spread]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{function.__name__}: several options {', '.join(sorted(twice))}")

    @functools.wraps(function)
    def command(**values: Any) -> None:
        filled = {name: _fill(group, values) for name, group in groups.items()}
        function(**values, **filled)

    command.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return command


def _fields(group: type) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, type and default of each field of a dataclass."""
    hints = typing.get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        yield field.name, hints[field.name], field.default


def _options(group: type, instance: Any) -> Iterator[inspect.Parameter]:
    """Make a parameter for each field of a group, with the defaults of `instance` if it is one."""
    for name, hint, default in _fields(group):
        value = getattr(instance, name) if isinstance(instance, group) else default
        if dataclasses.is_dataclass(hint):
            yield from _options(hint, value)  # type: ignore[arg-type]
            continue
        kind, info = typing.get_args(hint)
        info = copy.copy(info)
        info.rich_help_panel = info.rich_help_panel or getattr(group, "panel", None)
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=typing.Annotated[kind, info],
            default=value,
        )


def _fill(group: type, values: dict[str, Any]) -> Any:
    """Make an instance of a group of the values that belong to it, and take them away."""
    return group(
        **{
            name: _fill(hint, values) if dataclasses.is_dataclass(hint) else values.pop(name)  # type: ignore[arg-type]
            for name, hint, _ in _fields(group)
        }
    )
