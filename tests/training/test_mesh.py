"""Several devices give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitreous.errors import InputError
from vitreous.training.mesh import data_mesh


def test_eight_devices_equal_one(tmp_path):
    script = Path(__file__).with_name("toy_mesh.py")
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "16"}
    result = subprocess.run(
        [sys.executable, script, tmp_path],
        env=os.environ | flags,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    results = json.loads(result.stdout)
    assert len(results) == 2
    for name, found in results.items():
        # float32 sums over a batch in another order, after 12 steps of Adam with values below 1.
        assert found["difference"] < 2e-6, name
        assert found["spread"] == 8, name
    assert results["48"]["rows"] == 6, "the table is spread along the data axis"
    assert results["45"]["rows"] == 45, "a table that does not divide is copied"


def test_more_devices_than_there_are():
    with pytest.raises(InputError, match="64 devices asked for"):
        data_mesh(64)
