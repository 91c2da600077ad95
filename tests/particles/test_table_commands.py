"""Tables through every command and back, for every table of the peers; pickles end to end."""

import numpy as np
import pandas as pd
import pytest

from vitreous.cli.main import main
from vitreous.particles import (
    load_pickle,
    read_index,
    read_particles,
    read_pose_pickle,
    save_index_pickle,
    save_pickles,
)
from vitreous.particles.conversion import write_table
from vitreous.particles.cryosparc_making import make_cs
from vitreous.particles.star import read_star

STARS = [
    "FinalRefinement-OriginalParticles-PfCRT.star",
    "empiar_10076_7.star",
    "relion31.star",
    "relion31.6opticsgroups.star",
    "relion5.star",
    "sta_testing_bin8.star",
    "toy_projections.star",
    "toy_projections_13.star",
]
TABLES = ["cryosparc_P12_J24_001_particles.cs", "empiar_10076_7.cs"]
# What a file leaves open.
GIVEN = {
    STARS[0]: {"box": 300, "pixel_size": 1.035},
    "sta_testing_bin8.star": {"pixel_size": 14.56},
}


def run(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


def read(folder, name):
    given = dict(GIVEN.get(name, {}))
    if name == STARS[0]:
        # It has no amplitude contrast.
        given["ctf"] = folder / "ctf1.pkl"
    return read_particles(folder / name, **given)


def assert_alike(one, two):
    """Compare what two programs both know, to the digits that their formats keep."""
    assert len(one) == len(two)
    np.testing.assert_array_equal(one.image_index, two.image_index)
    np.testing.assert_allclose(one.pixel_size, two.pixel_size, rtol=1e-7)
    np.testing.assert_array_equal(one.box, two.box)
    np.testing.assert_allclose(one.shift, two.shift, atol=2e-5)
    assert (one.rotation is None) == (two.rotation is None)
    if one.rotation is not None:
        np.testing.assert_allclose(one.rotation, two.rotation, atol=2e-6)
    assert (one.ctf is None) == (two.ctf is None)
    for a, b in zip(one.ctf or (), two.ctf or (), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-5)
    # cryoSPARC's split is believed where both halves are there.
    if one.half_set is not None and len(np.unique(one.half_set)) == 2:
        np.testing.assert_array_equal(one.half_set, two.half_set)


@pytest.mark.parametrize("name", STARS)
def test_filtered_stars_keep_every_cell(shared_data, tmp_path, name):
    whole = read_star(shared_data / "interop" / name)
    rows = np.random.default_rng(0).permutation(len(whole.main))[: max(1, len(whole.main) // 2)]
    save_index_pickle(tmp_path / "i.pkl", rows)
    words = ["filter_star", shared_data / "interop" / name, "--ind", tmp_path / "i.pkl"]
    assert run(*words, "-o", tmp_path / "f.star") == 0
    part = read_star(tmp_path / "f.star")
    assert [b.name for b in part.blocks] == [b.name for b in whole.blocks]
    for block in whole.blocks:
        if block.name != whole.main.name:
            assert part.find(block.name).body == block.body
    for column in whole.main.columns:
        cells = whole.main.text(column)
        expected = [cells[k] for k in rows]
        found = part.main.text(column)
        if column == "rlnImageName":
            # Stacks that exist are named so that they are found from the new folder.
            expected = [cell.split("@")[0] for cell in expected]
            found = [cell.split("@")[0] for cell in found]
        assert found == expected, column


@pytest.mark.parametrize("name", TABLES)
def test_filtered_cs_keep_every_byte(shared_data, tmp_path, name):
    whole = np.load(shared_data / "interop" / name)
    rows = np.random.default_rng(0).permutation(len(whole))[: len(whole) // 2]
    np.save(tmp_path / "i.npy", rows)
    words = ["filter_cs", shared_data / "interop" / name, "--ind", tmp_path / "i.npy"]
    assert run(*words, "-o", tmp_path / "f.cs") == 0
    assert np.load(tmp_path / "f.cs").tobytes() == whole[rows].tobytes()
    # A passthrough file in another order follows by its uids.
    order = np.random.default_rng(1).permutation(len(whole))
    fields = whole.dtype.names
    with (tmp_path / "pass.cs").open("wb") as handle:
        np.save(handle, whole[[fields[0], fields[-1]]][order])
    words = ["write-cs", tmp_path / "pass.cs", "--uids", tmp_path / "f.cs", "-o", tmp_path / "p.cs"]
    assert run(*words) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "p.cs")["uid"], whole["uid"][rows])


@pytest.mark.parametrize("name", [*STARS, *TABLES])
def test_any_table_to_any_and_back(shared_data, tmp_path, name):
    table = read(shared_data / "interop", name)
    first, second = tmp_path / "first.cs", tmp_path / "second.star"
    third, old = tmp_path / "third.csv", tmp_path / "old.star"
    write_table(table, first)
    assert run("convert", first, "-o", second) == 0
    assert_alike(table, read_particles(first))
    assert_alike(table, read_particles(second))
    write_table(table, old, "3.0")
    assert read_star(old).optics is None
    # RELION 3.0 left the box to the headers of the stacks.
    assert_alike(table, read_particles(old, box=int(table.box[0])))
    assert run("convert", second, "-o", third) == 0
    frame = pd.read_csv(third)
    np.testing.assert_allclose(frame["rlnImagePixelSize"], table.pixel_size, rtol=1e-7)
    assert len(np.unique(np.load(first)["uid"])) == len(table)


def test_the_same_image_has_the_same_uid_in_any_selection(shared_data, tmp_path):
    table = read_particles(shared_data / "interop" / "relion31.6opticsgroups.star")
    rows = np.array([100, 3, 77])
    np.testing.assert_array_equal(make_cs(table.select(rows))["uid"], make_cs(table)["uid"][rows])


def test_a_stack_with_pickles_becomes_a_star(shared_data, tmp_path):
    folder = shared_data / "interop"
    words = ["write_star", folder / "toy_projections.mrcs", "--ctf", folder / "test_ctf.pkl"]
    words += ["--poses", folder / "toy_rot_trans.pkl", "--ind", folder / "ind100.pkl"]
    for layout, name in (("--relion31", "new.star"), ("--relion30", "old.star")):
        assert run(*words, "--full-path", layout, "-o", tmp_path / name) == 0
        table = read_particles(tmp_path / name)
        rows = read_index(folder / "ind100.pkl")
        rotation, where = read_pose_pickle(folder / "toy_rot_trans.pkl")
        np.testing.assert_allclose(table.rotation, rotation[rows], atol=1e-6)
        side = (table.box * table.pixel_size)[:, None]
        np.testing.assert_allclose(table.shift, where[rows] * side, atol=1e-5)
        np.testing.assert_array_equal(table.image_index, rows)
        assert table.stacks == (str(folder / "toy_projections.mrcs"),)


def test_tilt_images_of_particles_and_files_of_micrographs(shared_data, tmp_path):
    file = shared_data / "interop" / "sta_testing_bin8.star"
    save_index_pickle(tmp_path / "i.pkl", np.array([4, 1]))
    words = ["filter-star", file, "--ind", tmp_path / "i.pkl"]
    assert run(*words, "--et", "-o", tmp_path / "et.star") == 0
    names = read_star(file).main.text("rlnGroupName")
    wanted = list(dict.fromkeys(names))
    kept = read_star(tmp_path / "et.star").main.text("rlnGroupName")
    assert kept == [n for w in (wanted[4], wanted[1]) for n in names if n == w]
    file = shared_data / "interop" / "relion31.6opticsgroups.star"
    save_index_pickle(tmp_path / "i.pkl", np.arange(30))
    words = ["filter-star", file, "--ind", tmp_path / "i.pkl", "-m", "-o", tmp_path / "mics"]
    assert run(*words) == 0
    micrographs = read_star(file).main.text("rlnMicrographName")[:30]
    files = sorted((tmp_path / "mics").glob("*.star"))
    assert len(files) == len(set(micrographs))
    assert sum(len(read_star(f).main) for f in files) == 30


def test_files_end_to_end(shared_data, tmp_path):
    folder = shared_data / "interop"
    poses, ind = tmp_path / "p.pkl", tmp_path / "i.pkl"
    words = [folder / "toy_rot_trans.pkl", folder / "toy_rot_zerotrans.pkl"]
    assert run("concat_pkls", *words, "-o", poses) == 0
    rotation, translation = load_pickle(poses)
    assert rotation.shape == (2000, 3, 3)
    np.testing.assert_array_equal(translation[:1000], load_pickle(words[0])[1])
    save_index_pickle(ind, np.array([1500, 7]))
    assert run("filter_pkl", poses, "--ind", ind, "-o", tmp_path / "q.pkl") == 0
    np.testing.assert_array_equal(load_pickle(tmp_path / "q.pkl")[0], rotation[[1500, 7]])
    assert run("filter", folder / "ind100.pkl", "--first", 5, "-o", tmp_path / "n.pkl") == 0
    assert len(read_index(tmp_path / "n.pkl")) == 5
    stars = [folder / "relion31.star", folder / "relion31.6opticsgroups.star"]
    assert run("concat", *stars, "-o", tmp_path / "both.star") == 0
    assert len(read_particles(tmp_path / "both.star")) == 144
    save_pickles(tmp_path / "d.pkl", {"a": 1})
    for bad, message in (
        (["concat", poses, folder / "ctf1.pkl", "-o", tmp_path / "x.pkl"], "different things"),
        (["filter", poses, "--first", 3000, "-o", tmp_path / "x.pkl"], "2000 rows"),
        (["filter", stars[0], "--first", 10**6, "-o", tmp_path / "x.star"], "row 999999"),
        (["filter", tmp_path / "d.pkl", "--first", 1, "-o", tmp_path / "x.pkl"], "not arrays"),
        (["filter", tmp_path, "--first", 1, "-o", tmp_path / "x.pkl"], "vitreous select"),
        (["convert", stars[0], "-o", tmp_path / "x.doc"], "written as .star"),
        (["filter-star", stars[0], "--ind", ind, "-o", tmp_path / "x.star"], "asks for row 1500"),
    ):
        assert run(*bad) == 2, message
        assert not list(tmp_path.glob("x.*"))
