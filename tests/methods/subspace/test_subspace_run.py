"""The whole way of `train-subspace` and `regress` on a small molecule, against its truth."""

import json

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.methods.subspace.config import SubspaceConfig
from vitreous.methods.subspace.fit import train_subspace
from vitreous.metrics.truth import read_truth, score_latent
from vitreous.metrics.volume_fsc import per_image_auc
from vitreous.particles import read_map, write_map
from vitreous.training.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(hinge_set, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("subspace") / "run"
    words = ["train-subspace", hinge_set / "particles.star", "-o", folder, "--zdim", 2]
    words += ["--max-shell", 8, "-n", 2, "--no-analysis"]
    main([str(word) for word in words])
    return Run.open(folder)


def test_the_hinge_is_found(hinge_set, run):
    scores = score_latent(run.latents().mean, read_truth(hinge_set / "truth.npz"))
    assert scores["|Spearman|, along the graph"] > 0.95
    assert scores["state accuracy (15 neighbours)"] > 0.8


def test_components_are_counted_and_high_shells_do_no_harm(hinge_set, tmp_path):
    # 320 images tell the two directions of a bending motion apart, and the bend of its path.
    # Shells up to Nyquist open in stages: a mean that is not there yet on new ones must not be
    # taken for noise.
    run = train_subspace(hinge_set / "particles.star", tmp_path / "run")
    assert run.config["zdim"] in (2, 3)
    scores = score_latent(run.latents().mean, read_truth(hinge_set / "truth.npz"))
    assert scores["|Spearman|, along the graph"] > 0.95
    assert scores["state accuracy (15 neighbours)"] > 0.85
    with np.load(run.path / "subspace.npz") as state:
        assert (state["correlation"][:2] > 0.5).all()


def test_both_kinds_of_volumes_beat_the_mean(hinge_set, run, tmp_path):
    truth = read_truth(hinge_set / "truth.npz")
    z, chosen = run.latents().mean, np.arange(0, 320, 40)

    def score(decode):
        return per_image_auc(decode, z, truth.volumes, truth.labels, chosen, batch=8).mean()

    flat = score(lambda points: run.decode(np.zeros_like(points)))
    assert score(run.decode) > flat
    images = [word for row in chosen for word in ("--image", str(row))]
    main(["regress", str(run.path), *images, "-o", str(tmp_path)])
    maps = [read_map(tmp_path / f"vol_{i:03d}.mrc").data for i in range(len(chosen))]
    made = iter([np.stack(maps)])
    assert score(lambda _: next(made)) > flat
    told = json.loads((tmp_path / "volumes.json").read_text())["volumes"]
    assert len(told) == len(chosen)
    for facts in told:
        # Few images where the signal is strong, and all of them where it is weak.
        assert 10 < facts["images"] < 320
        assert max(facts["images_per_shell"]) > 1.5 * facts["images"]


def test_a_report_of_averaged_images(hinge_set, run, tmp_path):
    truth = hinge_set / "truth.npz"
    words = ["analyze", run.path, "-o", tmp_path, "--volumes-from", "regression", "--ksample", 3]
    words += ["--pc", 1, "--n-per-pc", 2, "--truth", truth, "--truth-images", 4]
    main([str(word) for word in words])
    assert "kernel regression" in (tmp_path / "report.html").read_text("utf-8")
    means = [read_map(tmp_path / "kmeans3" / f"vol_{i:03d}.mrc").data for i in (1, 2, 3)]
    assert all(np.isfinite(volume).all() for volume in means)
    assert not np.allclose(means[0], means[1])


def test_more_components_than_the_data_support_are_refused(hinge_set, tmp_path, capsys):
    star = str(hinge_set / "particles.star")
    with pytest.raises(SystemExit) as stop:
        main(["train-subspace", star, "-o", str(tmp_path / "a"), "--zdim", "17"])
    assert stop.value.code == 2
    assert "use --zdim 16 at most" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_components_the_halves_do_not_share_are_refused_and_shown(hinge_set, tmp_path):
    config = SubspaceConfig(zdim=10, max_shell=6, iterations=1)
    with pytest.raises(InputError, match=r"the data support [1-9] components, not 10"):
        train_subspace(hinge_set / "particles.star", tmp_path / "run", config)
    assert (tmp_path / "run" / "components.png").is_file()
    assert not (tmp_path / "run" / "latents.npz").exists()


def test_components_stay_inside_the_focus_mask(hinge_set, tmp_path):
    # A ball around one end of the molecule, off the centre.
    box = 32
    mask = np.zeros((box,) * 3, np.float32)
    mask[20:28, 12:20, 12:20] = 1
    write_map(tmp_path / "focus.mrc", mask, 6.4)
    config = SubspaceConfig(
        zdim=1,
        max_shell=8,
        iterations=1,
        focus_mask=str(tmp_path / "focus.mrc"),
        keep_all=True,
    )
    run = train_subspace(hinge_set / "particles.star", tmp_path / "run", config)
    change = run.decode(np.array([[1.0], [0.0]], np.float32))
    power = (change[0] - change[1]) ** 2
    grown = np.zeros_like(mask)
    grown[18:30, 10:22, 10:22] = 1
    assert power[grown > 0].sum() > 0.8 * power.sum()
