"""Commands that make paths through a latent space: along components, graphs, straight lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitreous.cli.stages import Stages
from vitreous.errors import InputError

if TYPE_CHECKING:
    import numpy as np

ZFile = Annotated[Path, typer.Argument(help="Latents: a run folder, z.N.pkl, .npz, .npy or text.")]
Anchors = Annotated[
    list[str], typer.Option("--anchors", help="Rows to visit: numbers, or .txt files of them.")
]


def pc_traversal(
    zfile: ZFile,
    pc: Annotated[
        list[int] | None, typer.Option("--pc", help="Which components, from 1; all by default.")
    ] = None,
    count: Annotated[int, typer.Option("-n", help="Points along each.")] = 10,
    lim: Annotated[
        tuple[float, float], typer.Option("--lim", help="Percentiles where a path begins and ends.")
    ] = (5.0, 95.0),
    use_percentile_spacing: Annotated[
        bool, typer.Option("--use-percentile-spacing", help="Equal steps of percentile.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--outdir", help="Folder for pc1.txt …; else print.")
    ] = None,
) -> None:
    """Make latent paths along principal components, the others at their mean.

    Example: `vitreous pc-traversal my_run --pc 1 2 -o paths`
    """
    from vitreous.analysis.latent_files import read_latents
    from vitreous.analysis.paths import component_path
    from vitreous.analysis.principal import fit_components
    from vitreous.analysis.series import write_z_values

    latents = read_latents(zfile)
    components = fit_components(latents)
    chosen = pc or list(range(1, len(components.axes) + 1))
    paths = {
        i: component_path(latents, i, count, lim, use_percentile_spacing, components)
        for i in chosen
    }
    for i, path in paths.items():
        if output is None:
            typer.echo(f"# PC{i}")
            typer.echo(_table(path))
            continue
        write_z_values(output / f"pc{i}.txt", path)
        share = components.explained[i - 1]
        typer.echo(f"PC{i} ({share:.1%} of the variance): {output / f'pc{i}.txt'}")


def graph_traversal(
    zfile: ZFile,
    anchors: Anchors,
    max_neighbors: Annotated[
        int, typer.Option("--max-neighbors", help="Links a point at most, itself counted.")
    ] = 10,
    avg_neighbors: Annotated[
        float, typer.Option("--avg-neighbors", help="Links a point on average; sets the cut-off.")
    ] = 5,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Rows of distances at once.")
    ] = 1000,
    outtxt: Annotated[Path, typer.Option("-o", "--outtxt", help="Latents of the path.")] = Path(
        "z-path.txt"
    ),
    outind: Annotated[Path, typer.Option("--outind", help="Rows of the path.")] = Path(
        "z-path-indices.txt"
    ),
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every step.")] = False,
) -> None:
    """Find the shortest path from particle to particle through the nearest-neighbour graph.

    Exits with status 2 when the anchors are not connected.

    Example: `vitreous graph-traversal my_run --anchors 10 250 730 -o z-path.txt`
    """
    import numpy as np

    from vitreous.analysis.graph_path import graph_path, neighbour_graph
    from vitreous.analysis.latent_files import read_latents
    from vitreous.analysis.paths import check_anchors
    from vitreous.analysis.series import write_z_values
    from vitreous.files import write_text

    latents = read_latents(zfile)
    rows = check_anchors(_anchor_rows(anchors), len(latents))
    if batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, not {batch_size}")
    with Stages() as tell:
        graph = neighbour_graph(
            latents, max_neighbors, avg_neighbors, batch_size,
            lambda done, total: tell("neighbours", done, total),
        )  # fmt: skip
    path = graph_path(graph, rows)
    write_z_values(outtxt, latents[path.index])
    write_text(outind, "".join(f"{i}\n" for i in path.index))
    if verbose:
        steps = np.linalg.norm(np.diff(latents[path.index], axis=0), axis=1)
        for first, last, step in zip(path.index[:-1], path.index[1:], steps, strict=True):
            typer.echo(f"{first:>8} → {last:<8} {step:.4f}")
    lengths = ", ".join(f"{length:.4g}" for length in path.lengths)
    typer.echo(
        f"{len(path.index)} points, length {lengths}, cut-off {graph.cutoff:.4g}: "
        f"{outtxt}, {outind}"
    )


def direct_traversal(
    zfile: ZFile,
    anchors: Anchors,
    count: Annotated[int, typer.Option("-n", help="Points of each segment, ends included.")] = 6,
    loop: Annotated[bool, typer.Option("--loop", help="Return to the first anchor.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--outtxt", help="Latents of the path; else print.")
    ] = None,
) -> None:
    """Make a latent path of straight lines between particles.

    Example: `vitreous direct-traversal my_run --anchors 10 250 -n 20 -o z-path.txt`
    """
    from vitreous.analysis.latent_files import read_latents
    from vitreous.analysis.paths import check_anchors, direct_path
    from vitreous.analysis.series import write_z_values

    latents = read_latents(zfile)
    rows = check_anchors(_anchor_rows(anchors), len(latents))
    path = direct_path(latents[rows], count, loop)
    if output is None:
        typer.echo(_table(path))
        return
    write_z_values(output, path)
    typer.echo(f"{len(path)} points: {output}")


def _anchor_rows(words: list[str]) -> "np.ndarray":
    """Read anchors given as numbers, or as files of numbers."""
    import numpy as np

    from vitreous.particles.peer_pickles import read_index

    rows: list[int] = []
    for word in words:
        if word.lstrip("-").isdigit():
            rows.append(int(word))
        elif Path(word).is_file():
            rows += read_index(word).tolist()
        else:
            raise InputError(f"--anchors {word}: neither a row number nor a file of them")
    return np.asarray(rows, np.int64)


def _table(path: "np.ndarray") -> str:
    return "\n".join(" ".join(f"{x:.6g}" for x in row) for row in path)
