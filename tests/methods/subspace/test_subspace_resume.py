"""A fit that was asked to stop goes on where it stood."""

import os
import signal

import numpy as np
import pytest

from vitreous.errors import InputError, Interrupted
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.fit import train_subspace

pytestmark = pytest.mark.slow
CONFIG = SubspaceConfig(zdim=2, max_shell=6, iterations=1, keep_all=True)


def test_an_interrupted_fit_ends_as_one_that_was_not(hinge_set, tmp_path):
    star = hinge_set / "particles.star"
    whole = train_subspace(star, tmp_path / "whole", CONFIG)

    def stop(_: str, done: int, __: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    command = "vitreous train-subspace particles.star -o run --resume"
    with pytest.raises(Interrupted, match=f"SIGUSR1 after iteration 2; continue with: {command}"):
        train_subspace(star, tmp_path / "run", CONFIG, progress=stop, resume_command=command)
    assert (tmp_path / "run" / "em.npz").is_file()
    assert not (tmp_path / "run" / "latents.npz").exists()
    told = []
    # The settings are those of the run, whatever is asked for now.
    resumed = train_subspace(
        star, tmp_path / "run", resume=True, progress=lambda _, done, __: told.append(done)
    )
    assert told[0] == 3
    np.testing.assert_array_equal(resumed.latents().mean, whole.latents().mean)
    assert not (tmp_path / "run" / "em.npz").exists()


def test_only_a_run_of_its_own_is_gone_on_with(hinge_set, tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        train_subspace(hinge_set / "particles.star", tmp_path / "none", resume=True)
