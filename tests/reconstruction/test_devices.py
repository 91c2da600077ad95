"""Sums over several devices are those of one."""

import subprocess
import sys

PROGRAM = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from jax.sharding import Mesh
from vitreous.cli.common import start_jax
start_jax()
from vitreous.geometry.rotations import random_rotations
from vitreous.reconstruction.backprojection import full_geometry
from vitreous.reconstruction.streaming import ImageColumns, sum_images

n, box = 21, 8
rng = np.random.default_rng(0)

class Source:
    box = 8
    stack = rng.normal(size=(n, box, box)).astype(np.float32)
    def __len__(self):
        return n
    def read(self, index):
        return self.stack[index]

columns = ImageColumns(
    np.asarray(random_rotations(jax.random.key(0), n)),
    rng.normal(size=(n, 2)).astype(np.float32),
    np.full(n, 2.0),
    None,
    (np.arange(n) % 2).astype(np.int32),
    np.ones(n, np.float32),
)
results = []
for count in (1, 4):
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
    assert mesh.size == count
    results.append(sum_images(Source(), columns, full_geometry(box, 2.0), mesh=mesh, chunk=10))
for one, four in zip(*results, strict=True):
    np.testing.assert_allclose(one, four, rtol=1e-4, atol=1e-4)
assert float(abs(results[0].numerator).max()) > 1
print("alike")
"""


def test_four_devices_add_up_to_one():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "alike", done.stderr[-2000:]
