"""Tables: selections remember their origin, and what is written is what is read back."""

import os

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from particle_tables import assert_same_particles, random_table

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable, read_particles, save_index_pickle, save_pickles
from vitreous.particles.star import read_star


@given(
    chain=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=12), min_size=1, max_size=4)
)
@settings(max_examples=50, deadline=None)
def test_chains_of_selections_keep_original_rows(chain):
    table = random_table(20)
    expected = np.arange(20)
    for step in chain:
        index = np.array(step) % len(table)
        table, expected = table.select(index), expected[index]
    np.testing.assert_array_equal(table.row, expected)
    whole = random_table(20)
    np.testing.assert_array_equal(table.shift, whole.shift[expected])
    np.testing.assert_array_equal(table.ctf.defocus_u, whole.ctf.defocus_u[expected])


def test_select_takes_masks_slices_and_nothing():
    table = random_table(5)
    assert table.select(np.array([True, False, False, True, False])).row.tolist() == [0, 3]
    assert table.select(slice(1, None, 2)).row.tolist() == [1, 3]
    assert len(table.select([])) == 0
    with pytest.raises(IndexError):
        table.select([5])
    with pytest.raises(IndexError):
        table.select(np.array([True]))


def test_join_appends_and_renumbers():
    first, second = random_table(3, stack="a"), random_table(2, stack="b", seed=1)
    joined = first.join(second).join(first)
    assert joined.stacks == ("a", "b")
    assert joined.stack_id.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert joined.optics_group.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert joined.row.tolist() == list(range(8))
    np.testing.assert_array_equal(joined.rotation[3:5], second.rotation)
    assert first.join(second.replace(half_set=None)).half_set is None


def test_columns_of_wrong_length_are_refused():
    table = random_table(3)
    with pytest.raises(ValueError, match="ctf has 2 rows, row has 3"):
        table.replace(ctf=table.select([0, 1]).ctf)


def test_a_built_table_is_a_relion_file(tmp_path):
    table = random_table(4, stack=tmp_path / "images.mrcs").join(
        random_table(3, box=10, pixel_size=2.0, stack=tmp_path / "others.mrcs", seed=5)
    )
    table.to_star(tmp_path / "out.star")
    blocks = starfile.read(tmp_path / "out.star")
    assert blocks["optics"]["rlnImagePixelSize"].tolist() == [1.5, 2.0]
    assert blocks["optics"]["rlnImageSize"].tolist() == [8, 10]
    assert blocks["particles"]["rlnOpticsGroup"].tolist() == [1] * 4 + [2] * 3
    assert blocks["particles"]["rlnImageName"][5] == "000002@others.mrcs"
    back = read_particles(tmp_path / "out.star")
    assert_same_particles(table, back)
    assert back.box.tolist() == [8] * 4 + [10] * 3


@given(
    shift=st.tuples(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32)),
    angles=st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180)),
    defocus=st.floats(0, 5e4, width=32),
)
@settings(max_examples=40, deadline=None)
def test_any_particle_survives_the_file(shift, angles, defocus, tmp_path_factory):
    from vitreous.geometry.rotations import euler_to_matrix

    path = tmp_path_factory.getbasetemp() / "one.star"
    one = random_table(1, stack="/nowhere/images.mrcs")
    ctf = one.ctf._replace(defocus_u=np.array([defocus], np.float32))
    one = one.replace(
        rotation=euler_to_matrix(np.array([angles])).astype(np.float32),
        shift=np.array([shift], np.float32),
        ctf=ctf,
    )
    one.to_star(path)
    back = read_particles(path)
    # Near the poles float32 entries of R fix the tilt no better than the root of their precision.
    np.testing.assert_allclose(back.rotation, one.rotation, atol=1e-6)
    np.testing.assert_allclose(back.shift, one.shift, atol=1e-6)
    assert back.ctf.defocus_u[0] == np.float32(defocus)


@pytest.mark.parametrize(
    "name",
    ["relion31.star", "relion31.6opticsgroups.star", "relion5.star", "sta_testing_bin8.star"],
)
def test_selections_of_real_files_keep_every_column_and_digit(shared_data, tmp_path, name):
    path = shared_data / "interop" / name
    table = read_particles(path).select([4, 0, 2])
    table.to_star(tmp_path / "kept.star")
    parent, kept = read_star(path), read_star(tmp_path / "kept.star")
    assert [block.name for block in kept.blocks] == [block.name for block in parent.blocks]
    assert kept.main.columns == parent.main.columns
    rows = [parent.main.lines()[row].split() for row in (4, 0, 2)]
    place = parent.main.columns.index("rlnImageName")
    if os.path.isabs(table.stacks[0]):
        # The stack lies beside the parent: its name is the one thing that must change.
        for cells in rows:
            cells[place] = cells[place].replace(b"@", f"@{path.parent}{os.sep}".encode(), 1)
    assert [line.split() for line in kept.main.lines()] == rows
    if parent.optics:
        assert kept.optics.body == parent.optics.body


def test_replaced_poses_are_written_and_the_rest_is_kept(shared_data, tmp_path):
    path = shared_data / "interop" / "relion31.star"
    table = read_particles(path)
    new = table.replace(rotation=table.rotation[::-1].copy(), shift=table.shift + np.float32(2))
    new.select([3, 1]).to_star(tmp_path / "new.star")
    back = read_particles(tmp_path / "new.star", datadir=path.parent)
    np.testing.assert_allclose(back.rotation, table.rotation[[1, 3]], atol=2e-7)
    np.testing.assert_allclose(back.shift, table.shift[[3, 1]] + 2, atol=2e-6)
    before, after = starfile.read(path)["particles"], starfile.read(tmp_path / "new.star")
    for column in before:
        if not column.startswith(("rlnAngle", "rlnOrigin", "rlnImageName")):
            kept = after["particles"][column].tolist()
            assert kept == before[column].iloc[[3, 1]].tolist()


def test_replaced_poses_of_a_relion30_file_stay_in_pixels(shared_data, tmp_path):
    folder = shared_data / "interop"
    path = folder / "FinalRefinement-OriginalParticles-PfCRT.star"
    w = tmp_path / "ctf.pkl"
    save_pickles(w, np.tile(np.float32([300, 1.035, 1e4, 1e4, 0, 300, 2.7, 0.1, 0]), (5, 1)))
    table = read_particles(path, box=300, ctf=w)
    table.replace(shift=np.full((5, 2), 2.07, np.float32)).to_star(tmp_path / "new.star")
    block = read_star(tmp_path / "new.star").main
    np.testing.assert_allclose(block.numbers("rlnOriginX"), -2.0, atol=1e-6)
    assert block.columns[:22] == read_star(path).main.columns
    # The CTF given in place of the file's goes into the file.
    assert (block.numbers("rlnAmplitudeContrast") == 0.1).all()
    assert (block.numbers("rlnDefocusU") == 1e4).all()


def test_values_of_an_optics_group_stay_in_its_table(particle_set, tmp_path):
    table = read_particles(particle_set)
    lower = table.ctf._replace(voltage=np.full(6, 200, np.float32))
    table.replace(ctf=lower).to_star(tmp_path / "out.star")
    star = read_star(tmp_path / "out.star")
    assert star.optics.numbers("rlnVoltage").tolist() == [200]
    assert "rlnVoltage" not in star.main.columns
    mixed = table.ctf._replace(voltage=np.arange(200, 206, dtype=np.float32))
    with pytest.raises(InputError, match="optics group 1 would need 6 values of _rlnVoltage"):
        table.replace(ctf=mixed).to_star(tmp_path / "out.star")


def test_poses_ctf_and_index_from_the_peers_pickles(shared_data):
    folder = shared_data / "particles" / "igg-64"
    star = read_particles(folder / "particles.star")
    stack = read_particles(
        folder / "particles.mrcs", poses=folder / "poses.pkl", ctf=folder / "ctf.pkl"
    )
    np.testing.assert_allclose(stack.pixel_size, star.pixel_size, rtol=1e-6)
    # The file holds angles to 1e-5 degrees and origins to 1e-5 Å.
    np.testing.assert_allclose(stack.rotation, star.rotation, atol=1e-6)
    np.testing.assert_allclose(stack.shift, star.shift, atol=2e-5)
    np.testing.assert_allclose(stack.ctf.defocus_u, star.ctf.defocus_u, atol=0.01)


def test_pickles_of_all_rows_or_of_the_selected_ones(particle_set, tmp_path):
    rotation = random_table(6, seed=3).rotation
    index = tmp_path / "ind.pkl"
    save_index_pickle(index, np.array([4, 2]))
    for rows in (rotation, rotation[[4, 2]]):
        save_pickles(tmp_path / "poses.pkl", (rows, np.zeros((len(rows), 2))))
        table = read_particles(particle_set, poses=tmp_path / "poses.pkl", ind=index)
        np.testing.assert_array_equal(table.rotation, rotation[[4, 2]])
        assert table.row.tolist() == [4, 2]
    save_pickles(tmp_path / "poses.pkl", rotation[:3])
    with pytest.raises(InputError, match="has 3 rows for the 6 particles"):
        read_particles(particle_set, poses=tmp_path / "poses.pkl")


def test_pose_units(particle_set, tmp_path):
    translation = np.tile([[0.25, -0.125]], (6, 1))
    save_pickles(tmp_path / "p.pkl", (random_table().rotation, translation))
    fraction = read_particles(particle_set, poses=tmp_path / "p.pkl")
    np.testing.assert_allclose(fraction.shift[0], [-0.25 * 12, 0.125 * 12], rtol=1e-6)
    pixel = read_particles(particle_set, poses=tmp_path / "p.pkl", pose_unit="pixel")
    np.testing.assert_allclose(pixel.shift[0], [-0.25 * 1.5, 0.125 * 1.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 6], "asks for row 6 .* has 6 particles"),
        ([-1], "asks for row -1"),
        ([], "selects no particles"),
        (np.zeros(6, bool), "selects no particles"),
        (np.ones(5, bool), "a mask of 5 for the 6 particles"),
    ],
)
def test_rows_that_do_not_exist(particle_set, index, message):
    with pytest.raises(InputError, match=message):
        read_particles(particle_set, ind=np.array(index))


def test_ctf_fields_follow_the_contract():
    table = random_table()
    assert isinstance(table, ParticleTable)
    assert isinstance(table.ctf, CTFParameters)
    assert all(field.dtype == np.float32 for field in table.ctf)
