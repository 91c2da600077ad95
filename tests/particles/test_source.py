"""Images by index: the right pixels from any stacks, lazily, and broken stacks found first."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from particle_tables import random_table

from vitreous.errors import InputError
from vitreous.particles import ImageSource, check_finite, read_particles, source, write_stack


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory):
    """Ten images, shuffled over a float32 and a big-endian int16 stack."""
    folder = tmp_path_factory.mktemp("stacks")
    images = np.random.default_rng(0).integers(-99, 99, (10, 5, 5))
    write_stack(folder / "a.mrcs", images[:4], 1.0)
    with mrcfile.new(folder / "b.mrcs") as mrc:
        mrc.set_data(images[4:].astype(">i2"))
        mrc.set_image_stack()
        mrc.voxel_size = 1.0
    (folder / "list.txt").write_text("a.mrcs\n\nb.mrcs\n")
    return folder, images


def test_lists_of_stacks(two_stacks):
    folder, images = two_stacks
    table = read_particles(folder / "list.txt")
    assert table.image_index.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(ImageSource(table).read(np.arange(10)), images)


@given(index=st.lists(st.integers(0, 9), max_size=25))
@settings(max_examples=40, deadline=None)
def test_any_order_and_repeats(two_stacks, index):
    folder, images = two_stacks
    table = read_particles(folder / "list.txt").select([3, 9, 1, 0, 2, 8, 7, 4, 6, 5])
    read = ImageSource(table).read(np.array(index, np.int64))
    np.testing.assert_array_equal(read, images[table.row[index]] if index else read[:0])
    assert read.dtype == np.float32


def test_threads_processes_and_few_open_files(two_stacks, monkeypatch):
    folder, images = two_stacks
    monkeypatch.setattr(source, "_OPEN_FILES", 1)
    images_source = pickle.loads(pickle.dumps(ImageSource(read_particles(folder / "list.txt"))))
    rows = [np.random.default_rng(k).permutation(10) for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for index, read in zip(rows, pool.map(images_source.read, rows), strict=True):
            np.testing.assert_array_equal(read, images[index])


def test_mixed_boxes_are_read_apart(tmp_path):
    write_stack(tmp_path / "a.mrcs", np.ones((2, 4, 4)), 1.0)
    write_stack(tmp_path / "b.mrcs", np.ones((2, 7, 7)), 1.0)
    (tmp_path / "list.txt").write_text("a.mrcs\nb.mrcs")
    images = ImageSource(read_particles(tmp_path / "list.txt"))
    assert images.read(np.array([3, 2])).shape == (2, 7, 7)
    with pytest.raises(InputError, match="boxes of 4, 7 pixels"):
        images.read(np.array([0, 3]))
    with pytest.raises(InputError, match="bring them to one box"):
        _ = images.box


def test_stacks_that_cannot_be_used(tmp_path):
    path = tmp_path / "s.mrcs"
    table = random_table(6, stack=path)
    with pytest.raises(InputError, match=r"s\.mrcs: no such file"):
        ImageSource(table)
    write_stack(path, np.ones((5, 8, 8)), 1.0)
    with pytest.raises(InputError, match=r"has 5 images, but row 6 of .* asks for image 6"):
        ImageSource(table)
    write_stack(path, np.ones((6, 9, 9)), 1.0)
    with pytest.raises(InputError, match=r"images are 9×9, but .* says 8×8"):
        ImageSource(table)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ones((6, 8, 9), np.float32))
    with pytest.raises(InputError, match="only square images"):
        ImageSource(table)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ones((6, 8, 8), np.complex64))
    with pytest.raises(InputError, match="mode 4"):
        ImageSource(table)
    write_stack(path, np.ones((6, 8, 8)), 1.0)
    images = ImageSource(table)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="ends before image 6"):
        images.read(np.array([5]))


def test_nan_pixels_are_named():
    table = random_table(6).select([5, 4, 3])
    images = np.zeros((2, 8, 8), np.float32)
    check_finite(images, np.array([2, 1]), table)
    images[1, 3, 3] = np.inf
    with pytest.raises(InputError, match=r"images\.mrcs: image 5 holds NaN .*row 5 of the table"):
        check_finite(images, np.array([2, 1]), table)


def test_stacks_are_found_where_projects_put_them(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "Refine3D" / "job012").mkdir(parents=True)
    write_stack(project / "Extract" / "images.mrcs", np.ones((6, 8, 8)), 1.5)
    path = project / "Refine3D" / "job012" / "run_data.star"
    random_table(stack="Extract/images.mrcs").to_star(path)
    monkeypatch.chdir(tmp_path)
    assert read_particles(path).stacks == (str(project / "Extract" / "images.mrcs"),)
    # The folder given comes before the folders above the table; a bare file name is enough there.
    write_stack(tmp_path / "else" / "images.mrcs", np.ones((6, 8, 8)), 1.5)
    found = read_particles(path, datadir=tmp_path / "else").stacks
    assert found == (str(tmp_path / "else" / "images.mrcs"),)
    # The current folder comes first.
    write_stack(tmp_path / "Extract" / "images.mrcs", np.ones((6, 8, 8)), 1.5)
    assert read_particles(path).stacks == (str(tmp_path / "Extract" / "images.mrcs"),)


def test_what_was_tried_is_told(tmp_path):
    random_table(stack="lost/images.mrcs").to_star(tmp_path / "p.star")
    with pytest.raises(InputError) as caught:
        read_particles(tmp_path / "p.star", datadir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "lost/images.mrcs") in message
    assert str(tmp_path / "images.mrcs") in message
    assert "--datadir" in message
    assert "\n" not in message
    # Without images in mind the table can still be read.
    table = read_particles(tmp_path / "p.star")
    with pytest.raises(InputError, match="no such file; tried"):
        ImageSource(table)


def test_unset_voxel_size_of_a_stack(tmp_path):
    with mrcfile.new(tmp_path / "s.mrcs") as mrc:
        mrc.set_data(np.ones((2, 4, 4), np.float32))
    with pytest.raises(InputError, match="has no pixel size"):
        read_particles(tmp_path / "s.mrcs")
    assert read_particles(tmp_path / "s.mrcs", pixel_size=3.0).pixel_size.tolist() == [3, 3]


def test_the_interpreter_ends_quietly_with_open_files(particle_set):
    code = (
        "import sys, builtins, numpy as np\n"
        "from vitreous.particles import ImageSource, read_particles\n"
        "source = ImageSource(read_particles(sys.argv[1]))\n"
        "source.read(np.arange(2))\n"
        "builtins.kept = source\n"
        "source.itself = source\n"
    )
    command = [sys.executable, "-c", code, str(particle_set)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
