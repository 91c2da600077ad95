"""What a large set costs: images streamed at D = 128, ten components; time and memory per image.

    python benchmarks/subspace_scale.py MAP.mrc [--counts 1000 2000] [--box 128] [-k 10] [-o FILE]

A set is simulated from a map into a temporary folder and fitted by `train-subspace --lazy` in a
process of its own, with the first half of the set and with all of it. Wall and processor time grow
by a fixed amount per image, which gives those of 100,000. Peak memory is that of the process
without the pages of the image files that are mapped into it (`RssAnon`). It is not projected: the
allocator's share grows over the first 20,000 images that are streamed, whatever set they are of.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax
from vitreous.particles import read_particles
from vitreous.simulation import ParticleOptions, simulate_particles
from vitreous.simulation.specimen import MapStates
from vitreous.simulation.structures import state_maps

FIT = """
import json, sys, threading, time
from vitreous.cli.common import start_jax
start_jax()
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.fit import train_subspace
from vitreous.training.inputs import DataOptions
peak = [0]
def watch():
    while True:
        lines = open("/proc/self/status").read().splitlines()
        peak[0] = max(peak[0], *(int(x.split()[1]) for x in lines if x.startswith("RssAnon")))
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
began, processor = time.perf_counter(), time.process_time()
config = SubspaceConfig(zdim=int(sys.argv[3]), max_shell=int(sys.argv[4]), keep_all=True)
train_subspace(sys.argv[1], sys.argv[2], config, DataOptions(lazy=True), overwrite=True)
spent = time.perf_counter() - began, time.process_time() - processor
print(json.dumps({"wall s": spent[0], "processor s": spent[1], "peak MiB": peak[0] >> 10}))
"""


def fit(star: Path, outdir: Path, components: int, shell: int) -> dict[str, float]:
    """Fit in a new process."""
    words = [sys.executable, "-c", FIT, str(star), str(outdir), str(components), str(shell)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure", type=Path, help="structure file, or map")
    parser.add_argument("--counts", type=int, nargs=2, default=[1000, 2000])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("-k", "--components", type=int, default=10)
    parser.add_argument("--shells", type=int, nargs="+", default=[14])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    start_jax()
    few, many = options.counts
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        volumes, pixel_size = state_maps([options.structure], options.box, 256 / options.box)
        specimen = MapStates.of(volumes, pixel_size)
        simulate_particles(specimen, folder, ParticleOptions(count=many, snr=0.1))
        table = read_particles(folder / "particles.star")
        table.select(np.arange(few)).to_star(folder / "few.star")
        for shell in options.shells:
            # Everything is compiled by a first fit, which does not count.
            fit(folder / "few.star", folder / "run", options.components, shell)
            for count, name in ((few, "few.star"), (many, "particles.star")):
                found = fit(folder / name, folder / "run", options.components, shell)
                rows.append({"images": count, "shells": shell, **found})
            first, second = rows[-2:]
            rate = {
                kind: (second[kind] - first[kind]) / (many - few)
                for kind in ("wall s", "processor s")
            }
            rows.append(
                {"images": 100_000, "shells": f"{shell}, projected"}
                | {kind: first[kind] + rate[kind] * (100_000 - few) for kind in rate}
            )
    columns = ["images", "shells", "wall s", "processor s", "peak MiB"]
    print_table(rows, columns)
    content = {"machine": machine(), "box": options.box, "components": options.components}
    write_json(options.output, "subspace_scale", content | {"rows": rows})


if __name__ == "__main__":
    main()
