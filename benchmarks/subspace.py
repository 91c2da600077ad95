"""The subspace method measured: time to latents, states, per-image AUC-FSC, cost in N and K.

    python benchmarks/subspace.py PARTICLES TRUTH [--images 100] [--skip cost poses] [-o FILE]

Every fit is the command `train-subspace` in a process of its own: once with an empty compilation
cache, once with the one it left. Wall and processor time are both given: the first depends on
what else the machine does. AUC-FSC follows CryoBench (`metrics.cryobench_auc`): each image's own
latent against its true volume; bandwidths of kernel regression are chosen without the truth.
`poses` disturbs the poses of the set by 3° and 2 Å (root mean square about or along each axis),
fits with and without `--refine-poses`, and measures poses and latents before and after.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import machine, print_table, write_json
from scipy.spatial.transform import Rotation

from vitreous.analysis.regression import open_regression
from vitreous.cli.common import start_jax
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.estimate import start
from vitreous.methods.subspace.expectation import ContrastPrior
from vitreous.methods.subspace.fit import train_subspace
from vitreous.methods.subspace.model import Band, Noise
from vitreous.methods.subspace.passes import Passes
from vitreous.metrics import cryobench_auc, every_nth, read_truth, state_accuracy
from vitreous.particles import ImageSource, read_particles
from vitreous.training.inputs import DataOptions, prepared_images, read_checked
from vitreous.training.run import Run

FIT = """
import sys, time
began = time.perf_counter()
from vitreous.cli.common import start_jax
start_jax()
from vitreous.methods.subspace.fit import train_subspace
import vitreous.methods.subspace.fit as fit
saved = fit.Run.save_latents
def save(self, *given):
    saved(self, *given)
    print("seconds", time.perf_counter() - began, time.process_time())
fit.Run.save_latents = save
train_subspace(sys.argv[1], sys.argv[2], overwrite=True)
"""


def timed_fit(particles: Path, outdir: Path, home: Path) -> tuple[float, float]:
    """Fit in a new process; returns wall and processor seconds from its start to the latents."""
    environment = {**os.environ, "HOME": str(home)}
    command = [sys.executable, "-c", FIT, str(particles), str(outdir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("seconds"))
    _, wall, processor = line.split()
    return float(wall), float(processor)


def quality(run: Run, truth_file: Path, count: int) -> dict[str, float]:
    """Score latents and volumes against the truth."""
    truth = read_truth(truth_file)
    assert truth.labels is not None
    assert truth.volumes is not None
    z = run.latents().mean
    chosen = every_nth(len(z), count)
    linear = [
        cryobench_auc(v, truth.volumes[truth.labels[i]])
        for v, i in zip(run.decode(z[chosen]), chosen, strict=True)
    ]
    regression = open_regression(run)
    began = time.process_time()
    near = [
        cryobench_auc(regression.at(z[i]).volume, truth.volumes[truth.labels[i]]) for i in chosen
    ]
    spent = time.process_time() - began
    everything = np.full(regression.kernel.shells, len(regression.kernel.sizes) - 1)
    consensus = regression.kernel(np.zeros(len(z)), everything).volume
    flat = [cryobench_auc(consensus, truth.volumes[truth.labels[i]]) for i in chosen]
    return {
        "components": z.shape[1],
        "state accuracy": state_accuracy(z, truth.labels),
        "AUC consensus": float(np.mean(flat)),
        "AUC linear": float(np.mean(linear)),
        "AUC regression": float(np.mean(near)),
        "images scored": len(chosen),
        "regression processor s a volume": spent / len(chosen),
    }


def cost(particles: Path) -> list[dict[str, Any]]:
    """Time one EM pass for several numbers of images and of components."""
    options = DataOptions()
    table = read_checked(options.particle_arguments(particles))
    rows = []
    for share, components in ((0.25, 6), (0.5, 6), (1.0, 2), (1.0, 4), (1.0, 6), (1.0, 10)):
        part = table.select(np.arange(int(len(table) * share)))
        source = ImageSource(part)
        pixels = FourierPixels(source.box, (source.box - 1) // 2)
        data = prepared_images(part, source, options, pixels, "white")
        band = Band(data.box, 14, components)
        noise = Noise(
            jnp.ones((1, band.shells)), jnp.zeros(len(part), jnp.int32), jnp.asarray(14, jnp.int32)
        )
        mean = np.zeros((2, band.size, band.size, band.size), np.float32)
        mask = np.ones((band.fields, *mean.shape[1:]), np.float32)
        guess = start(mean + 1e-3, mask, np.arange(len(part)) % 2, noise, band, 0)
        passes = Passes(data, band, ContrastPrior())
        spent = []
        for _ in range(3):
            began = time.process_time()
            jax.block_until_ready(passes.run(guess.subspace, guess.noise)[0])
            spent.append(time.process_time() - began)
        rows.append(
            {
                "images": len(part),
                "components": components,
                "processor s a pass": round(min(spent), 3),
                "images/s": round(len(part) / min(spent)),
            }
        )
    return rows


def disturbed(particles: Path, folder: Path, degrees: float, shift: float) -> Path:
    """Write the particle file with wrong poses beside links to its images."""
    table = read_particles(particles)
    rng = np.random.default_rng(0)
    assert table.rotation is not None
    turn = Rotation.from_rotvec(rng.normal(scale=degrees, size=(len(table), 3)), degrees=True)
    moved = table.shift + rng.normal(scale=shift, size=(len(table), 2))
    rotation = (turn.as_matrix() @ table.rotation).astype(np.float32)
    star = folder / "particles.star"
    table.replace(rotation=rotation, shift=moved.astype(np.float32)).to_star(star)
    return star


def pose_error(table, truth) -> tuple[float, float]:
    """Return the errors about (degrees) and along (Å) each axis, root mean square."""
    turn = Rotation.from_matrix(np.einsum("nij,nkj->nik", table.rotation, truth.rotation))
    angle = turn.as_rotvec(degrees=True)
    return float(np.sqrt((angle**2).mean())), float(
        np.sqrt(((table.shift - truth.shift) ** 2).mean())
    )


def pose_rows(particles: Path, truth_file: Path, count: int) -> list[dict[str, Any]]:
    """Fit right poses, wrong ones, and wrong ones that are refined; and right ones refined."""
    truth, rows = read_truth(truth_file), []
    cases = {
        "right": (0.0, 0.0, False),
        "wrong": (3.0, 2.0, False),
        "wrong, refined": (3.0, 2.0, True),
        "right, refined": (0.0, 0.0, True),
    }
    for name, (degrees, shift, refine) in cases.items():
        with tempfile.TemporaryDirectory() as scratch:
            star, outdir = (
                disturbed(particles, Path(scratch), degrees, shift),
                Path(scratch) / "run",
            )
            # What the user expects of good poses, where they are good.
            spread = (degrees or 1.0, shift or 1.0)
            config = SubspaceConfig(refine_poses=refine, pose_spread=spread)
            began = time.process_time()
            run = train_subspace(star, outdir, config)
            spent = time.process_time() - began
            before, after = (pose_error(t, truth) for t in (read_particles(star), run.table()))
            scores = quality(run, truth_file, count)
        rows.append(
            {"poses": name}
            | {"° before": before[0], "° after": after[0], "Å before": before[1]}
            | {"Å after": after[1], "processor s": spent}
            | {k: scores[k] for k in ("state accuracy", "AUC linear", "AUC regression")}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("particles", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="warm fits; the best one counts")
    parser.add_argument("--skip", nargs="*", default=[], choices=["fit", "cost", "poses"])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    content: dict[str, Any] = {"machine": machine()}
    start_jax()
    if "fit" not in options.skip:
        with tempfile.TemporaryDirectory() as folder:
            home, outdir = Path(folder) / "home", Path(folder) / "run"
            home.mkdir()
            rows = []
            for name in ("cold", *["warm"] * options.repeats):
                wall, processor = timed_fit(options.particles.resolve(), outdir, home)
                rows.append({"cache": name, "wall s": wall, "processor s": processor})
            print_table(rows, list(rows[0]))
            content["to latents"] = rows
            content["quality"] = quality(Run.open(outdir), options.truth, options.images)
            print_table([content["quality"]], list(content["quality"]))
    if "cost" not in options.skip:
        content["cost"] = cost(options.particles)
        print_table(content["cost"], list(content["cost"][0]))
    if "poses" not in options.skip:
        content["poses"] = pose_rows(options.particles, options.truth, options.images)
        print_table(content["poses"], list(content["poses"][0]))
    content["peak memory MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    write_json(options.output, "subspace", content)


if __name__ == "__main__":
    main()
