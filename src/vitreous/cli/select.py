"""Commands that choose particles: `select` by anything known of them, by labels, at random."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.grouped import grouped
from vitreous.cli.selection_flags import ConditionFlags, OutputFlags
from vitreous.errors import InputError

if TYPE_CHECKING:
    from vitreous.analysis.candidates import Candidates
    from vitreous.analysis.selections import Selection


@grouped
def select(
    source: Annotated[Path, typer.Argument(help="A run folder, or a particle file (.star, .cs).")],
    conditions: ConditionFlags,
    outputs: OutputFlags,
    datadir: Annotated[Path | None, typer.Option(help="Folder of the stacks, if moved.")] = None,
    epoch: Annotated[
        int | None, typer.Option("-e", "--epoch", help="Of the latents [last].")
    ] = None,
    kmeans: Annotated[
        int | None, typer.Option("-k", "--kmeans", help="Which kmeansK, if there are several.")
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List columns and saved selections, and stop.")
    ] = False,
) -> None:
    """Choose particles of a run, and take them back to RELION, cryoSPARC, or the next fit.

    A `.star` or `.cs` output is the particle file with these rows: every column, every digit, the
    original stacks; a `.csv` holds all that is known of each particle. Row numbers are those of
    that file, whatever selection the run was made with.
    Conditions are joined by *and*; `--where` says anything: `cluster in (1, 3) and not
    (1.2 < defocus < 2 or saved("junk")) or near(250, k=500)`.

    Example: `vitreous select my_run --cluster 1 3 --range defocus:1:2.5 -o selected.star rows.txt`
    """
    from vitreous.analysis.candidates import Candidates
    from vitreous.analysis.selecting import check_output, choose

    for path in outputs.output or []:
        check_output(path)
    candidates = Candidates(source, epoch, kmeans, datadir)
    if list_all:
        _list(candidates)
        return
    if outputs.save is not None and candidates.run is None:
        raise InputError(f"--save: {source} is no run; write the rows to a file with -o")
    found = choose(candidates, conditions.rule(), conditions.inverse, outputs.save or "")
    typer.echo(f"{len(found):,} of {found.total:,} {found.of}: {found.rule or 'all'}")
    _write(candidates, found, outputs)


def _list(candidates: "Candidates") -> None:
    from vitreous.analysis.selections import saved_selections

    typer.echo("columns: " + ", ".join(candidates.names()))
    if candidates.run is not None:
        typer.echo("saved: " + (", ".join(saved_selections(candidates.run.path)) or "none"))


def _write(candidates: "Candidates", found: "Selection", outputs: OutputFlags) -> None:
    from vitreous.analysis.selecting import LIST, others, parent_table, write_selection
    from vitreous.analysis.selection_csv import write_csv
    from vitreous.analysis.selections import save_selection

    rest = others(candidates, found) if outputs.with_inverse else None
    table = None
    if outputs.needs_table:
        table = parent_table(candidates, outputs.parent, outputs.with_poses)
    parts = {"": found} | ({} if rest is None else {"_inverse": rest})
    for path in outputs.output or []:
        for ending, part in parts.items():
            file = path.with_name(f"{path.stem}{ending}{path.suffix}")
            if path.suffix.lower() == LIST:
                count = write_csv(part, file, candidates)
            else:
                count = write_selection(part, file, table)
            typer.echo(f"{file}: {count:,}")
    if outputs.save is not None and candidates.run is not None:
        typer.echo(f"{save_selection(candidates.run.path, found)}")


def select_clusters(
    labels: Annotated[Path, typer.Argument(help="Label of each particle (.pkl, .npy, .txt).")],
    sel: Annotated[list[int], typer.Option("--sel", help="Labels to keep, as the file has them.")],
    output: Annotated[Path, typer.Option("-o", help="Rows to write (.pkl, .npy, .txt).")],
    parent_ind: Annotated[
        Path | None,
        typer.Option("--parent-ind", help="Rows of the original set the labels are of."),
    ] = None,
    n_orig: Annotated[
        int | None, typer.Option("--N-orig", help="Number of particles of the original set.")
    ] = None,
) -> None:
    """Write the rows whose cluster label is one of those given.

    With `--parent-ind` the rows are those of the original set, before the selection that the
    labels belong to.

    Example: `vitreous select-clusters analyze.20/kmeans20/labels.pkl --sel 0 3 7 -o ind.pkl`
    """
    import numpy as np

    from vitreous.analysis.selecting import check_index_output, write_index
    from vitreous.particles.peer_pickles import read_index

    check_index_output(output)
    values = read_index(labels, allow_mask=False)
    rows = np.flatnonzero(np.isin(values, sel))
    if not rows.size:
        has = ", ".join(map(str, np.unique(values)[:20].tolist()))
        raise InputError(f"{labels}: no particle has a label of {sel}; there are {has}")
    if parent_ind is not None:
        original = read_index(parent_ind)
        if len(original) != len(values):
            raise InputError(
                f"{parent_ind}: lists {len(original)} rows, {labels} has {len(values)} labels"
            )
        rows = original[rows]
    if n_orig is not None and rows.max() >= n_orig:
        raise InputError(f"--N-orig {n_orig}: row {rows.max()} is beyond it")
    write_index(output, rows)
    typer.echo(f"{output}: {len(rows):,} of {len(values):,} particles")


def select_random(
    total: Annotated[int, typer.Argument(metavar="N", help="Number of particles.")],
    output: Annotated[Path, typer.Option("-o", help="Rows to write (.pkl, .npy, .txt).")],
    count: Annotated[int | None, typer.Option("-n", help="How many to choose.")] = None,
    frac: Annotated[float | None, typer.Option("--frac", help="Share to choose, 0 to 1.")] = None,
    rest: Annotated[Path | None, typer.Option("-s", help="Write the rows left out here.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Write rows chosen at random, in ascending order.

    Example: `vitreous select-random 100000 -n 20000 -o ind.pkl -s rest.pkl`
    """
    import numpy as np

    from vitreous.analysis.selecting import check_index_output, write_index

    for path in (output, rest):
        if path is not None:
            check_index_output(path)
    if (count is None) == (frac is None):
        raise InputError("say how many: -n or --frac, one of them")
    number = round(frac * total) if frac is not None else count
    assert number is not None
    if not 0 < number <= total:
        raise InputError(f"{number} of {total} particles cannot be chosen")
    order = np.random.default_rng(seed).permutation(total)
    write_index(output, np.sort(order[:number]))
    typer.echo(f"{output}: {number:,} of {total:,} particles")
    if rest is not None:
        write_index(rest, np.sort(order[number:]))
        typer.echo(f"{rest}: {total - number:,} particles")
