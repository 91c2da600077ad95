"""The dashboard on a large run: time to open, memory, and how long columns, lassos, volumes take.

A synthetic run of a subspace (8 latents, a box of 64), an analysis, and a RELION 3.1 table of 26
columns; 200 of its images exist. The server runs as a user starts it, in a process of its own;
"open" is until the page has what it draws first: the run, and the two columns of its plane.
Memory is what the server's own process holds, sampled twenty times a second, and what it holds
together with the process that reads the table.

python benchmarks/dashboard.py [--particles 1000000] [--json dashboard.json]
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import yaml
from parse_star import write_table
from record import machine, print_table, write_json

from vitreous.particles.stack import write_stack
from vitreous.training.checkpoint import Checkpoints
from vitreous.training.position import Position

BOX, DIMENSIONS, CLUSTERS = 64, 8, 20


def make_run(folder: Path, particles: int) -> Path:
    """Write a run folder as `train-subspace` and `analyze` leave it."""
    rng = np.random.default_rng(0)
    star, run = folder / "particles.star", folder / "run"
    write_table(star, particles)
    stack = re.search(rb"\S+@(\S*job140\S+)", star.read_bytes()[:100_000])
    assert stack is not None
    noise = rng.standard_normal((200, 256, 256), dtype=np.float32)
    write_stack(folder / stack[1].decode(), noise, 1.35)
    analysis = run / "analyze.1" / f"kmeans{CLUSTERS}"
    analysis.mkdir(parents=True)
    z = rng.standard_normal((particles, DIMENSIONS), dtype=np.float32)
    z[:, 0] *= 3
    np.savez(run / "latents.npz", mean=z, log_variance=np.full_like(z, -2.0))
    np.save(analysis.parent / "umap.npy", z[:, :2] + 0.3 * z[:, 2:4])
    np.save(analysis / "labels.npy", rng.integers(0, CLUSTERS, particles))
    volumes = 0.1 * rng.standard_normal((DIMENSIONS + 1, 28, 28, 28), dtype=np.float32)
    state = {"volumes": volumes, "consensus": np.zeros((BOX,) * 3, np.float32)}
    Checkpoints(run / "checkpoints").save(state, Position(1, 0, 1, 0, 1, particles))
    config = {
        "method": "subspace",
        "particles": {"path": str(star)},
        "images": particles,
        "latents_of": "images",
        "box": BOX,
        "pixel_size": 1.35 * 256 / BOX,
        "zdim": DIMENSIONS,
        "normalization": [0.0, 1.0],
        "contrast": "white",
        "folder": str(run),
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


class Memory(threading.Thread):
    """Sample the resident memory of a process, alone and with its children, in GiB."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.own, self.all = process, 0.0, 0.0

    def run(self) -> None:
        """Sample until the process ends."""
        while own := resident(self.process):
            children = Path(f"/proc/{self.process}/task/{self.process}/children")
            tasks = Path(f"/proc/{self.process}/task").glob("*/children")
            try:
                names = {name for file in (children, *tasks) for name in file.read_text().split()}
            except OSError:
                names = set()
            self.own = max(self.own, own)
            self.all = max(self.all, own + sum(resident(int(name)) for name in names))
            time.sleep(0.05)


def resident(process: int) -> float:
    """Return the resident memory of a process in GiB, 0 when it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 2**20 if found else 0.0


class Page:
    """Ask the server what the page asks it."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.headers = {"X-Token": token, "Content-Type": "application/json"}

    def __call__(self, path: str, body: object = None) -> tuple[bytes, float]:
        """Return an answer and the seconds it took."""
        began = time.perf_counter()
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, self.headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:300].decode()}")
        return data, time.perf_counter() - began


def lasso(corners: int) -> dict:
    """Draw a hand-like line around the middle of the latents."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 1.5 + 0.3 * np.sin(7 * turn)
    polygon = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).tolist()
    return {"rule": {"lasso": {"x": "umap1", "y": "umap2", "polygon": polygon}}}


def measure(run: Path) -> dict[str, float]:
    """Start the dashboard on a run and time what a user does first."""
    words = [sys.executable, "-m", "vitreous.cli.main", "dashboard", str(run)]
    began = time.perf_counter()
    server = subprocess.Popen(
        [*words, "--no-browser", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    memory = Memory(server.pid)
    memory.start()
    try:
        assert server.stdout is not None
        link = re.search(r":(\d+)/\?token=(\S+)", server.stdout.readline())
        assert link is not None
        times = {"link": time.perf_counter() - began}
        page = Page(int(link[1]), link[2])
        about = json.loads(page("/api/run")[0])
        for name in (about["defaultX"], about["defaultY"]):
            page(f"/api/columns/{name}")
        times["open"] = time.perf_counter() - began
        times["memory_when_open"] = resident(server.pid)
        times |= while_reading(page)
        while json.loads(page("/api/run")[0])["loading"]:
            time.sleep(0.2)
        times["table"] = time.perf_counter() - began
        times |= at_work(page)
    finally:
        server.terminate()
        server.wait()
    return times | {"memory": memory.own, "memory_with_reader": memory.all}


def while_reading(page: Page) -> dict[str, float]:
    """Time what is asked while the table is still being read."""
    found = {"lasso_while_reading": page("/api/select", lasso(200))[1]}
    found["pc1"] = page("/api/columns/pc1")[1]
    found["volume_first"] = page("/api/volume?particle=0")[1]
    return found


def at_work(page: Page) -> dict[str, float]:
    """Time what is asked of a run that is all there."""

    def middle(path: str, body: object = None, repeats: int = 7) -> float:
        return statistics.median(page(path, body)[1] for _ in range(repeats))

    found = {"defocus_first": page("/api/columns/defocus")[1]}
    found["column"] = middle("/api/columns/defocus")
    found["lasso"] = middle("/api/select", lasso(200))
    both = {"and": [lasso(200)["rule"], {"not": {"cluster": [1, 2]}}]}
    found["lasso_and_not_cluster"] = middle("/api/select", {"rule": both})
    found["nearest"] = middle("/api/select", {"rule": {"nearest": {"particle": 3, "count": 5000}}})
    found["volume"] = statistics.median(page(f"/api/volume?particle={k}")[1] for k in range(1, 16))
    found["montage_25"] = page("/api/montage?indices=" + ",".join(map(str, range(25))))[1]
    found["poses"] = page("/api/poses", lasso(200))[1]
    wanted = {**lasso(200), "name": "middle", "format": "star"}
    found["export_star"] = page("/api/selections/export", wanted)[1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), options.particles)
        table = os.path.getsize(Path(folder) / "particles.star") / 2**20
        # The first start compiles into the cache that later ones read.
        measure(run)
        found = {name: round(value, 3) for name, value in measure(run).items()}
    units = {"memory": "GiB", "memory_when_open": "GiB", "memory_with_reader": "GiB"}
    rows = [{"what": k, "value": v, "unit": units.get(k, "s")} for k, v in found.items()]
    print_table(rows, ["what", "value", "unit"])
    about = {"particles": options.particles, "table_megabytes": round(table)}
    packages = ("fastapi", "uvicorn", "pandas")
    write_json(options.json, "dashboard", {"machine": machine(*packages), **about, **found})


if __name__ == "__main__":
    main()
