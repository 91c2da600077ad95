"""Four devices add up to what one device finds."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_sharded_sums_are_those_of_one_device():
    script = Path(__file__).with_name("planted_mesh.py")
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    # Sums of float32 in another order.
    assert max(differences.values()) < 2e-5, differences
