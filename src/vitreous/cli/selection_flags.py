"""Options of `select`: which particles, and what becomes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from vitreous.errors import InputError


@dataclass(frozen=True)
class ConditionFlags:
    """What the chosen particles have in common."""

    panel: ClassVar[str] = "Conditions"
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Rule, as 'cluster in (1, 3)'.")
    ] = None
    cluster: Annotated[
        list[int] | None, typer.Option("--cluster", help="Clusters; 1 is vol_001.mrc.")
    ] = None
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="COLUMN:LOW:HIGH, ends included; either may be left out."),
    ] = None
    nearest: Annotated[
        list[str] | None, typer.Option("--nearest", help="ROW:K, the K nearest in the latent.")
    ] = None
    ind: Annotated[
        list[Path] | None, typer.Option("--ind", help="Rows of an index file (.pkl, .npy, .txt).")
    ] = None
    saved: Annotated[
        list[str] | None, typer.Option("--saved", help="Names of selections saved in the run.")
    ] = None
    is_any: Annotated[
        bool, typer.Option("--any", help="Particles that meet one condition, not all.")
    ] = False
    inverse: Annotated[bool, typer.Option("--inverse", help="The particles left out.")] = False

    def rule(self) -> str:
        """Say all of them as one rule; see `analysis.selection_rules`.

        **Raises:** `InputError` if a range or a neighbourhood is not understood.
        """
        rules = [f"({rule})" for rule in self.where or []]
        if self.cluster:
            rules.append(f"cluster in ({', '.join(map(str, self.cluster))},)")
        rules += [_range_rule(text) for text in self.ranges or []]
        rules += [_near_rule(text) for text in self.nearest or []]
        rules += [f"rows({str(path)!r})" for path in self.ind or []]
        rules += [f"saved({name!r})" for name in self.saved or []]
        return (" or " if self.is_any else " and ").join(rules)


@dataclass(frozen=True)
class OutputFlags:
    """What is written of them."""

    panel: ClassVar[str] = "Output"
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--output", help="What to write: .star, .cs, .csv, or rows (.pkl, .npy, .txt)."
        ),
    ] = None
    with_inverse: Annotated[
        bool, typer.Option("--with-inverse", help="Write NAME_inverse beside each output too.")
    ] = False
    save: Annotated[
        str | None, typer.Option("--save", help="Keep it in the run under this name.")
    ] = None
    parent: Annotated[
        Path | None,
        typer.Option(help="Take the rows from this file: the original of a downsampled set."),
    ] = None
    with_poses: Annotated[
        bool, typer.Option("--with-poses", help="Put in the poses that the run found or refined.")
    ] = False

    @property
    def needs_table(self) -> bool:
        """Whether the particle file itself is written, or another is compared with it."""
        tables = (".star", ".cs")
        return self.parent is not None or any(
            path.suffix.lower() in tables for path in self.output or []
        )


def _range_rule(text: str) -> str:
    parts = text.rsplit(":", 2)
    try:
        bounds = [float(p) if p else None for p in parts[1:]]
    except ValueError:
        bounds = []
    if len(bounds) != 2 or bounds == [None, None]:
        raise InputError(f"--range {text}: give COLUMN:LOW:HIGH; LOW or HIGH may be left out")
    low, high = bounds
    name = parts[0] if parts[0].isidentifier() else repr(parts[0])
    left = "" if low is None else f"{low:.12g} <= "
    right = "" if high is None else f" <= {high:.12g}"
    return f"{left}{name}{right}"


def _near_rule(text: str) -> str:
    row, _, k = text.partition(":")
    if not (row.isdecimal() and k.isdecimal()):
        raise InputError(f"--nearest {text}: give ROW:K, as 250:1000")
    return f"near({row}, k={k})"
