"""One device and eight simulated ones fit the same model."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vitreous.particles import read_pose_pickle
from vitreous.training.run import Run

SCRIPT = Path(__file__).parent / "toy_devices.py"
KINDS = ("vae", "autodecoder")


@pytest.fixture(scope="module")
def fitted(hinge_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    command = [sys.executable, SCRIPT, hinge_set / "particles.star", folder, *KINDS]
    subprocess.run(command, check=True, env=os.environ | {"NPROC": "16"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_equal_one(fitted, kind):
    one, eight = (Run.open(fitted / f"{kind}_{devices}") for devices in (1, 8))
    assert [run.config["data"]["devices"] for run in (one, eight)] == [1, 8]
    # 20 steps of Adam: rounding of a gradient near zero can turn a step of the learning rate.
    np.testing.assert_allclose(eight.latents().mean, one.latents().mean, atol=5e-3)
    volumes = [np.load(run.path / "volume.npy") for run in (one, eight)]
    assert np.abs(volumes[1] - volumes[0]).max() < 5e-3 * np.abs(volumes[0]).max()
    poses = [read_pose_pickle(run.path / "pose.1.pkl")[0] for run in (one, eight)]
    np.testing.assert_allclose(poses[1], poses[0], atol=2e-3)
