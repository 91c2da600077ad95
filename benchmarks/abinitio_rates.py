"""Time the phases of an ab initio fit, images a second each, on a set of any size.

    python benchmarks/abinitio_rates.py --images 2000 --box 64
    python benchmarks/abinitio_rates.py --images 100000 --box 128        # with a GPU

Images are those of a blob molecule, some thousands simulated and shown again and again. Every phase
runs twice on the map of the molecule; the second time, without compilation, counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import machine, print_table, write_json

# Images that are simulated; more are copies of these.
_DISTINCT = 4000


def repeated_set(images: int, box: int) -> tuple[Any, Any]:
    """Simulate a set and show its images until there are enough; returns prepared images too."""
    from vitreous.particles.loader import PreparedImages
    from vitreous.simulation.blobs import MemoryImages, blob_set

    blobs = blob_set("rigid", min(images, _DISTINCT), 0.3, 0, box=box)
    rows = np.arange(images) % len(blobs.source)

    class Again(MemoryImages):
        def __len__(self) -> int:
            return images

        def read(self, index):
            return self.images[np.asarray(index) % len(self.images)]

    table = blobs.table.select(rows)
    return blobs, PreparedImages.build(table, Again(blobs.source.images))


def timed(function: Callable[[], Any], images: int) -> dict[str, float]:
    """Run twice; return seconds and images a second of the second time."""
    function()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "images/s": round(images / seconds)}


def phases(images: int, box: int) -> list[dict[str, Any]]:
    """Time low-resolution climb, passes over all poses and around known ones, and an encoder."""
    import jax
    import jax.numpy as jnp

    from vitreous.methods.abinitio.amortised.config import AmortisedConfig
    from vitreous.methods.abinitio.amortised.model import predict
    from vitreous.methods.abinitio.amortised.train import load_poser, train_amortised
    from vitreous.methods.abinitio.config import AbinitioConfig
    from vitreous.methods.abinitio.halves import Halves, one_pass
    from vitreous.methods.abinitio.low_resolution import Estimate, Stage, climb
    from vitreous.methods.abinitio.search import rows_of_halves
    from vitreous.methods.abinitio.strategy import surroundings
    from vitreous.simulation.blobs import PIXEL_SIZE
    from vitreous.training.run import Run

    start = time.perf_counter()
    blobs, data = repeated_set(images, box)
    rows = [{"phase": "simulate and prepare", "seconds": round(time.perf_counter() - start, 2)}]
    # A molecule of some 16 pixels across, whatever the box.
    config = AbinitioConfig(particle_diameter=20 * PIXEL_SIZE, max_shift=2 * PIXEL_SIZE)
    setting = surroundings(data, config, lambda *_: None)
    scale = PIXEL_SIZE / data.normalization.fourier_scale(box)
    volume = jnp.asarray(blobs.volume() * np.float32(scale))
    everyone, key = np.arange(images), jax.random.key(0)
    first = Estimate(volume[None], setting.image_power())
    some = min(images, 4000)
    for shell in (4, 6, 8):
        stage = (Stage(shell, some, 0.6, 1),)

        def look(stage=stage):
            return climb(setting, first, everyone, stage, (0,), "rates").volumes.block_until_ready()

        rows.append({"phase": f"all poses, softly, {shell} shells"} | timed(look, some))
    halves = Halves(jnp.stack([volume[None]] * 2), first.noise, np.ones(data.pixels.max_shell + 1))
    sets, low = rows_of_halves(setting), setting.shell(8)
    passed: list[Any] = []
    for fresh, name in ((True, "all poses, then refinement"), (False, "refinement alone")):
        begin = halves if fresh else passed[-1]

        def once(fresh=fresh, begin=begin):
            passed.append(one_pass(setting, begin, sets, key, np.full(images, fresh), low))

        rows.append({"phase": name} | timed(once, images))
    with tempfile.TemporaryDirectory() as scratch:
        run = Run.create(
            Path(scratch) / "run", {"method": "abinitio", "box": box, "pixel_size": PIXEL_SIZE}
        )
        settings = AmortisedConfig(num_epochs=1, trials=0, first_dreams=0)
        found = train_amortised(data, settings, run, lambda _: None, volume=np.asarray(volume))
        rates = [e["images_per_second"] for e in found.history if "images_per_second" in e]
        rows.append({"phase": "encoder, training", "images/s": round(max(rates))})
        poser = load_poser(run)
        rows.append({"phase": "encoder, asked"} | timed(lambda: predict(poser, data), images))
    return rows


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    rows = phases(args.images, args.box)
    rows = [{"images": args.images, "box": args.box} | row for row in rows]
    print_table(rows, ["images", "box", "phase", "seconds", "images/s"])
    write_json(args.json, "abinitio_rates", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
