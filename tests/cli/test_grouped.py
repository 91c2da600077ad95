"""A dataclass of options is spread over the command line and comes back filled."""

import inspect
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from vitreous.cli.grouped import grouped


@dataclass(frozen=True)
class Fit:
    panel: ClassVar[str] = "Fit"
    epochs: Annotated[int, typer.Option("-n", help="Passes.")] = 20
    rate: Annotated[float | None, typer.Option(help="Rate.")] = None


@dataclass(frozen=True)
class AlsoEpochs:
    epochs: Annotated[int, typer.Option(help="Again.")] = 1


@dataclass(frozen=True)
class Seed:
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0


@dataclass(frozen=True)
class Both:
    fit: Fit
    random: Seed


def call(function, *words):
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, list(words))


def test_fields_are_filled_and_defaults_can_differ():
    seen = []

    @grouped
    def train(name: Annotated[str, typer.Argument()], fit: Fit = Fit(epochs=5)) -> None:
        seen.append((name, fit))

    assert call(train, "a").exit_code == 0
    assert call(train, "b", "-n", "7", "--rate", "0.5").exit_code == 0
    assert seen == [("a", Fit(epochs=5)), ("b", Fit(7, 0.5))]


def test_help_has_a_panel_a_group_and_the_class_is_left_alone():
    @grouped
    def train(fit: Fit) -> None:
        """Train."""

    shown = call(train, "--help").output
    assert "Fit" in shown
    assert "Passes." in shown
    assert list(inspect.signature(train).parameters) == ["epochs", "rate"]
    assert Fit.__annotations__["epochs"].__metadata__[0].rich_help_panel is None


def test_groups_of_groups():
    seen = []

    @grouped
    def train(all_of_it: Both) -> None:
        seen.append(all_of_it)

    assert call(train, "-n", "3", "--seed", "9").exit_code == 0
    assert seen == [Both(Fit(epochs=3), Seed(9))]


def test_two_options_of_one_name_are_refused():
    with pytest.raises(TypeError, match="train: several options epochs"):

        @grouped
        def train(fit: Fit, again: AlsoEpochs) -> None:
            pass
