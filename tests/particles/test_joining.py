"""Joined tables keep what either of them said, in the file that is written from them."""

import dataclasses

import numpy as np
import pytest
from particle_tables import assert_same_particles, random_table

from vitreous.errors import InputError
from vitreous.particles import read_particles
from vitreous.particles.star import read_star


def written(folder, name, count, seed, extra=None, **changes):
    """A table read back from a file of its own, with columns no reader knows."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.star"
    random_table(count, stack=folder / f"{name}.mrcs", seed=seed, **changes).to_star(path)
    for column, values in (extra or {}).items():
        star = read_star(path)
        star.replace_blocks(star.main.replace_columns({column: values})).write(path)
    return read_particles(path)


def test_unknown_columns_of_both_are_written(tmp_path):
    first = written(tmp_path, "a", 3, 0, {"rlnFigure": ["1", "2", "3"]})
    second = written(tmp_path, "b", 2, 1, {"rlnNote": ["x", "y z"], "rlnFigure": ["8", "9"]})
    third = written(tmp_path, "c", 1, 2, box=10, pixel_size=2.0)
    joined = first.select([2, 0]).join(second).join(third)
    joined.to_star(tmp_path / "all.star")
    star = read_star(tmp_path / "all.star")
    assert star.main.text("rlnFigure") == ["3", "1", "8", "9", "nan"]
    assert star.main.text("rlnNote") == ["None", "None", "x", "y z", "None"]
    assert star.main.text("rlnImageName")[2] == "000001@b.mrcs"
    assert star.optics.text("rlnOpticsGroup") == ["1", "2", "3"]
    assert len(set(star.optics.text("rlnOpticsGroupName"))) == 3
    back = read_particles(tmp_path / "all.star")
    assert_same_particles(joined, back)
    assert back.pixel_size.tolist() == [1.5] * 4 + [2.0]
    np.testing.assert_array_equal(back.optics_group, joined.optics_group)


def test_changes_made_before_joining_are_kept(tmp_path):
    first = written(tmp_path, "a", 3, 0)
    moved = first.replace(shift=first.shift + np.float32(1))
    joined = moved.join(written(tmp_path, "b", 2, 1))
    joined.to_star(tmp_path / "all.star")
    back = read_particles(tmp_path / "all.star")
    np.testing.assert_allclose(back.shift[:3], first.shift + 1, atol=1e-5)
    # A change made afterwards is written on top.
    later = joined.replace(shift=joined.shift * 0).select([4, 0])
    later.to_star(tmp_path / "later.star")
    assert not read_particles(tmp_path / "later.star").shift.any()


def test_one_table_with_poses_and_one_without_cannot_be_joined():
    first, second = random_table(3), random_table(2, seed=1)
    for name, words in ("rotation", "has poses"), ("ctf", "has a CTF"):
        poor = dataclasses.replace(second, **{name: None})
        for pair in (first, poor), (poor, first):
            with pytest.raises(InputError, match=words):
                pair[0].join(pair[1])
        assert getattr(dataclasses.replace(first, **{name: None}).join(poor), name) is None


def test_single_images_beside_tilt_series_are_particles_by_themselves():
    dose = np.float32([0, 3, 6])
    series = random_table(3).replace(particle=np.int64([0, 0, 1]), dose=dose)
    for joined, expected in (
        (series.join(random_table(2)), [0, 0, 1, 2, 3]),
        (random_table(2).join(series), [0, 1, 2, 2, 3]),
    ):
        assert joined.particle.tolist() == expected
        assert joined.dose.sum() == 9


def test_layouts_that_do_not_fit_lose_their_own_columns_and_say_so(tmp_path, shared_data, caplog):
    old = read_particles(shared_data / "interop" / "sta_testing_bin8.star")
    new = written(tmp_path, "a", 3, 0)
    joined = new.join(dataclasses.replace(old, half_set=None))
    assert "laid out differently" in caplog.text
    assert joined.source is None
    joined.to_star(tmp_path / "all.star")
    back = read_particles(tmp_path / "all.star")
    np.testing.assert_allclose(back.rotation, joined.rotation, atol=1e-6)
    assert "rlnMicrographName" not in read_star(tmp_path / "all.star").main.columns


def test_cryosparc_tables_join_with_every_field(shared_data, tmp_path):
    folder = shared_data / "interop"
    one = read_particles(folder / "cryosparc_P12_J24_001_particles.cs").select([3, 1])
    two = read_particles(folder / "cryosparc_P12_J24_001_particles.cs").select([7])
    fields = [name for name in two.source.table.dtype.names if name != "ctf/scale"]
    poor = dataclasses.replace(
        two, source=dataclasses.replace(two.source, table=two.source.table[fields])
    )
    joined = one.join(poor)
    joined.to_cs(tmp_path / "joined.cs")
    back = np.load(tmp_path / "joined.cs")
    parent = one.source.table[[3, 1, 7]]
    assert back.dtype.names == parent.dtype.names or set(back.dtype.names) == set(
        parent.dtype.names
    )
    for name in parent.dtype.names:
        expected = parent[name].copy()
        if name == "ctf/scale":
            expected[2] = np.nan
        np.testing.assert_array_equal(back[name], expected)
