"""Write the command reference from the commands themselves, each time the site is built.

A MkDocs hook: `commands.md` exists nowhere but in the built site.
"""

import enum
import inspect
import re
import typing
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from vitreous.cli.main import ALIASES, COMMANDS, find_command

_INTRODUCTION = """# Commands

This page is made from the program when the site is built; `vitreous COMMAND --help` prints the
same. Hyphens and underscores are interchangeable in the names of commands and of long options.
An option that takes several values takes them one after the other: `--anchors 10 20 30`.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site."""
    files.append(File.generated(config, "commands.md", content=render_reference()))
    return files


def render_reference() -> str:
    """Compose the page: a table of contents, then a section for each command."""
    listing = [f"| [`{name}`](#{name}) | {summary} |" for name, (*_, summary) in COMMANDS.items()]
    table = "\n".join(["| command | |", "|---|---|", *listing])
    return "\n\n".join([_INTRODUCTION.strip(), table, *map(render_command, COMMANDS)]) + "\n"


def render_command(name: str) -> str:
    """Describe one command: what it does, its arguments, its options."""
    function = find_command(name)
    parts = [f"## {name}", inspect.cleandoc(function.__doc__ or "")]
    parts[1] = re.sub(r"Example: `([^`]+)`", r"```sh\n\1\n```", parts[1])
    rows: dict[str, list[str]] = {"argument": [], "option": []}
    silent = []
    for parameter in inspect.signature(function).parameters.values():
        kind, *metadata = typing.get_args(parameter.annotation)
        info: Any = next(m for m in metadata if hasattr(m, "param_decls"))
        is_argument = type(info).__name__ == "ArgumentInfo"
        # Typer keeps the first name of an annotated option where a default would stand.
        names = [n for n in (info.default, *(info.param_decls or ())) if isinstance(n, str)]
        names = names or _default_names(parameter, kind, is_argument)
        if info.hidden:
            silent.append(f"`{names[-1]}`")
            continue
        words = " ".join([info.help or "", _default(parameter.default)]).strip()
        label = ", ".join(f"`{n}`" for n in names).replace("/", "`, `")
        value = _value(kind)
        label += f" {value}" if value and not is_argument else ""
        rows["argument" if is_argument else "option"].append(f"| {label} | {_cell(words)} |")
    for heading, lines in rows.items():
        if lines:
            parts.append("\n".join([f"| {heading} | |", "|---|---|", *lines]))
    aliases = [f"`{alias}`" for alias, target in ALIASES.items() if target == name]
    if aliases:
        parts.append(f"Also called {', '.join(aliases)}.")
    if silent:
        parts.append(f"Taken for the sake of cryoDRGN's scripts: {', '.join(silent)}; see "
                     "[Coming from cryoDRGN](cryodrgn.md#options).")  # fmt: skip
    return "\n\n".join(parts)


def _default_names(parameter: inspect.Parameter, kind: Any, is_argument: bool) -> list[str]:
    if is_argument:
        return [parameter.name.upper()]
    name = parameter.name.replace("_", "-")
    return [f"--{name}/--no-{name}"] if kind is bool else [f"--{name}"]


def _value(kind: Any) -> str:
    """Name the value an option takes; nothing for a flag."""
    options = [k for k in typing.get_args(kind) if k is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{word}`" for word in options)
    if typing.get_origin(kind) is tuple:
        return " ".join(_value(k) for k in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"{_value(options[0])} …"
    if options:
        return _value(options[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in kind)
    return {bool: "", int: "*N*", float: "*X*", str: "*WORD*", Path: "*PATH*"}[kind]


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "**Required.**"
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or value is False or value == "" or value == []:
        return ""
    if isinstance(value, tuple):
        value = " ".join(f"{v:g}" for v in value)
    if isinstance(value, float):
        value = f"{value:g}"
    return f"Default: {'on' if value is True else f'`{value}`'}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
