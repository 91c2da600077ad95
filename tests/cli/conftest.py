"""Run the program inside the test process, and parse command lines without running them."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import typer.main

from vitreous.cli.lists import spread_lists
from vitreous.cli.main import ALIASES, COMMANDS, build_app, find_command, main, with_hyphens


class Outcome(NamedTuple):
    """What a command left: exit status, standard output, lines of standard error."""

    status: int
    out: str
    err: list[str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Run `vitreous` with the given words."""

    def call(*words: object) -> Outcome:
        status: object = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        assert status is None or isinstance(status, int)
        return Outcome(status or 0, captured.out, captured.err.splitlines())

    return call


@pytest.fixture(scope="session")
def parse() -> Callable[[list[str]], dict]:
    """Parse the words after `vitreous` into the parameters of the command; nothing is run."""

    def call(words: list[str]) -> dict:
        name = ALIASES.get(words[0].replace("_", "-"), words[0].replace("_", "-"))
        assert name in COMMANDS, f"no command {name}"
        words = [with_hyphens(word) for word in words[1:]]
        words = spread_lists(words, find_command(name))
        group = typer.main.get_command(build_app(name))
        return group.commands[name].make_context(name, words).params

    return call
