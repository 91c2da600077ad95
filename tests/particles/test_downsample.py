"""Downsampling: the physics stays, the tables tell the truth, and failures leave nothing."""

import mrcfile
import numpy as np
import pytest
from particle_tables import random_table

from vitreous.errors import InputError
from vitreous.particles import ImageSource, Map, read_particles, write_stack
from vitreous.particles.downsample import downsample_map, downsample_particles
from vitreous.particles.star import read_star


def blobs(box, pixel_size, centers, sigma=4.0):
    """Sample Gaussians at centres in Å from the box centre: band-limited, known at any sampling."""
    axis = (np.arange(box) - box // 2) * pixel_size
    x, y = np.meshgrid(axis, axis, indexing="xy")
    return np.stack(
        [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centers]
    ).astype(np.float32)


@pytest.mark.parametrize(("box", "smaller"), [(32, 20), (32, 21), (33, 20), (33, 21)])
def test_smaller_images_sample_the_same_density(tmp_path, box, smaller):
    centers = [(0, 0), (7, -5), (-3, 8)]
    write_stack(tmp_path / "s.mrcs", blobs(box, 1.5, centers), 1.5)
    table = read_particles(tmp_path / "s.mrcs")
    result = downsample_particles(table, smaller, tmp_path / "small.mrcs")
    expected = blobs(smaller, 1.5 * box / smaller, centers)
    # The Gaussian's spectrum at the new Nyquist frequency is below 1e-3.
    np.testing.assert_allclose(ImageSource(result).read(np.arange(3)), expected, atol=2e-3)
    back = read_particles(tmp_path / "small.mrcs")
    assert back.pixel_size[0] == pytest.approx(1.5 * box / smaller, rel=1e-6)
    assert back.box[0] == smaller


def test_mean_intensity_is_kept(tmp_path):
    images = np.random.default_rng(0).normal(5, 1, (3, 16, 16))
    write_stack(tmp_path / "s.mrcs", images, 1.0)
    result = downsample_particles(read_particles(tmp_path / "s.mrcs"), 7, tmp_path / "t.mrcs")
    small = ImageSource(result).read(np.arange(3))
    np.testing.assert_allclose(small.mean((1, 2)), images.mean((1, 2)), rtol=1e-5)


def test_modern_table_is_brought_up_to_date(particle_set, tmp_path):
    table = read_particles(particle_set).select([4, 1, 3])
    downsample_particles(table, 4, tmp_path / "small" / "p.star", batch=2)
    back = read_particles(tmp_path / "small" / "p.star")
    assert back.pixel_size.tolist() == [3.0] * 3
    assert back.box.tolist() == [4] * 3
    assert back.image_index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(back.shift, table.shift)
    np.testing.assert_array_equal(back.rotation, table.rotation)
    star = read_star(tmp_path / "small" / "p.star")
    assert star.optics.text("rlnImageSize") == ["4"]
    assert star.main.text("rlnImageName")[0] == "000001@p.mrcs"
    assert star.main.text("rlnDefocusU") == [
        read_star(particle_set).main.text("rlnDefocusU")[row] for row in (4, 1, 3)
    ]


def test_relion30_origins_follow_the_new_pixels(tmp_path):
    write_stack(tmp_path / "s.mrcs", np.ones((2, 8, 8)), 1.5)
    columns = ["ImageName", "OriginX", "OriginY", "DetectorPixelSize", "Magnification"]
    (tmp_path / "old.star").write_text(
        "data_\nloop_\n" + "".join(f"_rln{c}\n" for c in columns) + "1@s.mrcs 2 -1 7.5 50000\n"
        "2@s.mrcs 0 0.5 7.5 50000\n"
    )
    table = read_particles(tmp_path / "old.star")
    assert table.shift.tolist() == [[-3, 1.5], [0, -0.75]]
    downsample_particles(table, 4, tmp_path / "new.star")
    back = read_particles(tmp_path / "new.star")
    np.testing.assert_allclose(back.shift, table.shift)
    assert back.pixel_size.tolist() == [3, 3]
    np.testing.assert_allclose(read_star(tmp_path / "new.star").main.numbers("rlnOriginX"), [1, 0])


def test_mixed_groups_keep_their_own_pixel_size(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.ones((3, 8, 8)), 1.0)
    write_stack(tmp_path / "b.mrcs", 2 * np.ones((2, 12, 12)), 1.0)
    mixed = random_table(3, pixel_size=1.0, stack=tmp_path / "a.mrcs").join(
        random_table(2, box=12, pixel_size=0.9, stack=tmp_path / "b.mrcs")
    )
    mixed = mixed.select([0, 3, 1, 4, 2])
    mixed.to_star(tmp_path / "mixed.star")
    table = read_particles(tmp_path / "mixed.star")
    downsample_particles(table, 4, tmp_path / "small.star")
    back = read_particles(tmp_path / "small.star")
    np.testing.assert_allclose(back.pixel_size, [2, 2.7, 2, 2.7, 2])
    means = ImageSource(back).read(np.arange(5)).mean((1, 2))
    np.testing.assert_allclose(means, [1, 2, 1, 2, 1], rtol=1e-6)
    with pytest.raises(InputError, match=r"pixel sizes of 2 to 2.7 Å and a stack holds one"):
        downsample_particles(table, 4, tmp_path / "small.mrcs")


def test_chunks_and_lists(particle_set, tmp_path):
    table = read_particles(particle_set)
    whole = downsample_particles(table, 5, tmp_path / "whole.mrcs")
    downsample_particles(table, 5, tmp_path / "part.mrcs", chunk=4)
    assert (tmp_path / "part.txt").read_text() == "part.0.mrcs\npart.1.mrcs\n"
    parts = read_particles(tmp_path / "part.txt")
    rows = np.arange(6)
    np.testing.assert_array_equal(ImageSource(parts).read(rows), ImageSource(whole).read(rows))


def test_one_stack_for_each_input_stack(tmp_path):
    for name in "ab":
        write_stack(tmp_path / "in" / name / "s.mrcs", np.full((2, 8, 8), ord(name)), 1.0)
    table = random_table(2, pixel_size=1.0, stack=tmp_path / "in/b/s.mrcs").join(
        random_table(2, pixel_size=1.0, stack=tmp_path / "in/a/s.mrcs")
    )
    table = table.select([0, 2, 1])
    downsample_particles(table, 4, tmp_path / "out.star", stack_folder=tmp_path / "small")
    assert (tmp_path / "small" / "b" / "s.mrcs").is_file()
    back = read_particles(tmp_path / "out.star")
    means = ImageSource(back).read(np.arange(3)).mean((1, 2))
    np.testing.assert_allclose(means, [98, 97, 98], rtol=1e-6)


def test_progress_counts_every_image(particle_set, tmp_path):
    counts = []
    table = read_particles(particle_set)
    downsample_particles(table, 4, tmp_path / "s.mrcs", batch=4, progress=counts.append)
    assert counts == [4, 2]


def test_nan_pixels_leave_nothing_behind(tmp_path):
    images = np.ones((6, 8, 8))
    images[4, 2, 2] = np.nan
    write_stack(tmp_path / "s.mrcs", images, 1.0)
    out = tmp_path / "out"
    with pytest.raises(InputError, match="image 5 holds NaN"):
        downsample_particles(read_particles(tmp_path / "s.mrcs"), 4, out / "t.mrcs", chunk=2)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("box", "path", "message"),
    [
        (9, "t.mrcs", "-D 9: the new box must be 2 to 8 pixels; images have 8"),
        (1, "t.mrcs", "-D 1"),
        (4, "images.mrcs", "is one of the inputs"),
        (4, "t.npy", "the output is .mrcs, .star or .txt"),
    ],
)
def test_outputs_that_cannot_be(particle_set, box, path, message):
    with pytest.raises(InputError, match=message):
        downsample_particles(read_particles(particle_set), box, particle_set.parent / path)


def test_a_disk_that_is_too_small(particle_set, tmp_path, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(InputError, match="GiB are free"):
        downsample_particles(read_particles(particle_set), 4, tmp_path / "new" / "t.mrcs")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("box", "smaller"), [(12, 7), (13, 8)])
def test_maps_keep_their_place_in_space(box, smaller):
    axis = (np.arange(box) - box // 2) * 2.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    data = np.exp(-((x - 2) ** 2 + y**2 + (z + 3) ** 2) / (2 * 5.0**2)).astype(np.float32)
    origin = (-(box // 2) * 2.0,) * 3
    small = downsample_map(Map(data, 2.0, origin), smaller)
    assert small.voxel_size == pytest.approx(2.0 * box / smaller)
    # Voxel coordinates in Å follow from the origin in the header.
    axis = small.origin[0] + np.arange(smaller) * small.voxel_size
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    expected = np.exp(-((x - 2) ** 2 + y**2 + (z + 3) ** 2) / (2 * 5.0**2))
    # Within the middle; at the faces of so small a box the Gaussian wraps around.
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(small.data[inner], expected[inner], atol=0.03)
    with pytest.raises(InputError, match="must be a cube"):
        downsample_map(Map(data[1:], 2.0), 4)


def test_integer_big_endian_stacks(tmp_path):
    data = np.random.default_rng(0).integers(0, 99, (3, 8, 8)).astype(">i2")
    with mrcfile.new(tmp_path / "s.mrcs") as mrc:
        mrc.set_data(data)
        mrc.set_image_stack()
        mrc.voxel_size = 1.0
    result = downsample_particles(read_particles(tmp_path / "s.mrcs"), 4, tmp_path / "t.mrcs")
    small = ImageSource(result).read(np.arange(3))
    np.testing.assert_allclose(small.mean((1, 2)), data.mean((1, 2)), rtol=1e-6)
