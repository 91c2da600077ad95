"""Neural fits that start from the latents of a subspace."""

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.fit import train_subspace
from vitreous.metrics.truth import read_truth, score_latent
from vitreous.training.run import Run

pytestmark = pytest.mark.slow

SMALL = ["--enc-dim", "32", "--dec-dim", "32", "--enc-layers", "1", "--dec-layers", "1"]


@pytest.fixture(scope="module")
def subspace(hinge_set, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("start") / "first"
    config = SubspaceConfig(zdim=2, max_shell=8, iterations=2)
    return train_subspace(hinge_set / "particles.star", folder, config)


def fit(command: str, hinge_set, outdir, *words: object) -> Run:
    given = [command, hinge_set / "particles.star", "-o", outdir, "--zdim", 3, "--no-analysis"]
    main([str(word) for word in (*given, *words)])
    return Run.open(outdir)


def explained(z: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the variance of `wanted` that a linear map of `z` explains."""
    design = np.column_stack([z, np.ones(len(z))])
    left = wanted - design @ np.linalg.lstsq(design, wanted, rcond=None)[0]
    return 1 - left.var(axis=0).sum() / wanted.var(axis=0).sum()


def test_an_encoder_is_led_to_them(hinge_set, subspace, tmp_path):
    words = ["-n", 20, "--checkpoint", 20, *SMALL]
    led = fit("train-vae", hinge_set, tmp_path / "a", "--init-latents", subspace.path, *words)
    alone = fit("train-vae", hinge_set, tmp_path / "b", *words)
    wanted, truth = subspace.latents().mean, read_truth(hinge_set / "truth.npz")
    assert explained(led.latents().mean, wanted) > 0.8
    recovered = [
        score_latent(run.latents().mean, truth)["neighbour R² (15 neighbours)"]
        for run in (led, alone)
    ]
    assert recovered[0] > 0.9
    assert recovered[0] > recovered[1] + 0.05
    # The run decodes without the run it started from.
    moved = subspace.path.rename(subspace.path.with_name("moved"))
    try:
        assert np.isfinite(led.decode(led.latents().mean[:2])).all()
    finally:
        moved.rename(subspace.path)


def test_free_latents_begin_there(hinge_set, subspace, tmp_path):
    words = ["--init-latents", subspace.path, "-n", 1, "--pretrain-z", 1, *SMALL[2:4], *SMALL[6:]]
    run = fit("train-dec", hinge_set, tmp_path / "run", *words)
    z, wanted = run.latents().mean, subspace.latents().mean
    assert explained(z, wanted) > 0.999
    assert np.ptp(z[:, 2]) == 0


def test_other_particles_are_refused(hinge_set, subspace, tmp_path, capsys):
    np.savetxt(tmp_path / "rows.txt", np.arange(100), fmt="%d")
    with pytest.raises(SystemExit) as stop:
        fit(
            "train-dec",
            hinge_set,
            tmp_path / "run",
            "--init-latents",
            subspace.path,
            "--ind",
            tmp_path / "rows.txt",
            *SMALL[2:4],
        )
    assert stop.value.code == 2
    assert "latents of 320 particles, this fit has 100" in capsys.readouterr().err
