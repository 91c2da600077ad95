"""Options that several commands share: a dataclass of them is one parameter of the command.

    @grouped
    def train(particles: ..., which: ParticleFlags, fit: FitFlags = FitFlags(epochs=5)) -> None:

`train --help` shows every field as an option, under the `panel` of its class; the function gets
the dataclasses filled. An instance as the parameter's default changes the defaults of its fields.
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
            spread.extend(_options(parameter))
        else:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    names = [parameter.name for parameter in spread]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{function.__name__}: several options {', '.join(sorted(twice))}")

    @functools.wraps(function)
    def command(**values: Any) -> None:
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group)]
            values[name] = group(**{field: values.pop(field) for field in fields})
        function(**values)

    command.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return command


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Make a parameter for each field of a group."""
    group = parameter.annotation
    hints = typing.get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        kind, info = typing.get_args(hints[field.name])
        info = copy.copy(info)
        info.rich_help_panel = info.rich_help_panel or getattr(group, "panel", None)
        given = parameter.default is not inspect.Parameter.empty
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=typing.Annotated[kind, info],
            default=getattr(parameter.default, field.name) if given else field.default,
        )
