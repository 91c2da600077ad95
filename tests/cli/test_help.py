"""Every command explains itself: purpose, options, and an example that would run."""

import inspect
import re
import shlex

import pytest
import typer.main

from vitreous import __version__
from vitreous.cli.main import ALIASES, COMMANDS, build_app, find_command


def flat(text: str) -> str:
    return " ".join(text.split())


def example_of(name: str) -> str:
    found = re.findall(r"Example: `(vitreous [^`]+)`", flat(find_command(name).__doc__ or ""))
    assert len(found) == 1, f"{name}: its docstring has no line 'Example: `vitreous {name} …`'"
    return found[0]


def test_the_list_names_every_command(run):
    status, out, _ = run("--help")
    assert status == 0
    for name, (_, _, summary) in COMMANDS.items():
        assert name in out
        assert summary.split(maxsplit=1)[0] in out


def test_nothing_asks_for_help(run):
    assert run() == run("--help")


def test_version(run):
    assert run("--version").out == f"vitreous {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example(run, name):
    status, out, err = run(name, "--help")
    assert (status, err) == (0, [])
    assert example_of(name) in flat(out)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_a_valid_command_line(parse, name):
    program, command, *rest = shlex.split(example_of(name))
    assert (program, command) == ("vitreous", name)
    parse([command, *rest])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_visible_option_is_explained(name):
    group = typer.main.get_command(build_app(name))
    for parameter in group.commands[name].params:
        if not getattr(parameter, "hidden", False):
            assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_begins_with_a_sentence(name):
    first = inspect.cleandoc(find_command(name).__doc__ or "").splitlines()[0]
    assert first[0].isupper()
    assert first.endswith(".")


def test_peers_names_lead_to_commands():
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert not set(ALIASES) & set(COMMANDS)
