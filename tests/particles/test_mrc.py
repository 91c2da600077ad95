"""MRC files: every mode and byte order against mrcfile, maps in any axis order, broken files."""

import gzip
import io

import mrcfile
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.mrc import HEADER_BYTES, read_header, read_sections
from vitreous.particles import Map, StackWriter, read_map, write_map, write_stack

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 4: np.complex64, 6: np.uint16, 12: np.float16}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_modes_and_byte_orders(tmp_path, mode, order):
    data = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(MODES[mode])
    path = tmp_path / "x.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(data.astype(data.dtype.newbyteorder(order)))
        mrc.voxel_size = 1.31
    header, back = read_sections(path)
    assert header.shape == (3, 4, 5)
    assert header.voxel_size == pytest.approx((1.31, 1.31, 1.31), rel=1e-6)
    assert back.dtype == MODES[mode]
    np.testing.assert_array_equal(back, data)


def test_files_without_a_machine_stamp(tmp_path):
    for order in "<>":
        path = tmp_path / "old.mrc"
        with mrcfile.new(path, overwrite=True) as mrc:
            mrc.set_data(np.arange(8, dtype=f"{order}f4").reshape(2, 2, 2))
        raw = bytearray(path.read_bytes())
        raw[208:216] = bytes(8)
        path.write_bytes(raw)
        np.testing.assert_array_equal(read_sections(path)[1].ravel(), np.arange(8))


def test_extended_header_is_skipped(tmp_path):
    path = tmp_path / "x.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.ones((2, 3, 3), np.float32))
        mrc.set_extended_header(np.frombuffer(b"\x07" * 160, "V160"))
    assert read_header(path).offset == HEADER_BYTES + 160
    assert (read_sections(path)[1] == 1).all()


@pytest.mark.parametrize("mode", [3, 101])
def test_unsupported_modes_are_named(tmp_path, mode):
    path = tmp_path / "x.mrc"
    write_map(path, np.ones((2, 2, 2)), 1.0)
    raw = bytearray(path.read_bytes())
    raw[12:16] = mode.to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(InputError, match=f"MRC mode {mode} is not supported"):
        read_header(path)


def test_broken_files(tmp_path):
    path = tmp_path / "x.mrcs"
    write_stack(path, np.ones((4, 8, 8)), 1.0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated: the header promises 4 sections of 8×8"):
        read_header(path)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="not an MRC file: 5 bytes"):
        read_header(path)
    path.write_bytes(b"\xff" * 2000)
    with pytest.raises(InputError, match="not an MRC file"):
        read_header(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_header(tmp_path / "absent.mrcs")


def test_map_round_trip_and_mrcfile_agrees(tmp_path):
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    path = tmp_path / "map.mrc"
    write_map(path, data, 1.3, (1.0, -2.0, 3.5))
    back = read_map(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.voxel_size == pytest.approx(1.3)
    assert back.origin == pytest.approx((1.0, -2.0, 3.5))
    assert mrcfile.validate(path, print_file=io.StringIO())
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        np.testing.assert_array_equal(mrc.data, data)
        assert mrc.header.dmean == pytest.approx(data.mean(), abs=1e-6)


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_maps_in_any_axis_order_come_out_z_y_x(tmp_path, axes):
    data = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    path = tmp_path / "map.mrc"
    # Section, row and column of the file run along these axes of (z, y, x).
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.ascontiguousarray(data.transpose([3 - axis for axis in axes[::-1]])))
        mrc.voxel_size = 2.0
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
    np.testing.assert_array_equal(read_map(path).data, data)


def test_compressed_map_and_grid_start(tmp_path):
    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.ones((4, 4, 4), np.float32))
        mrc.voxel_size = 2.0
        mrc.nstart = (1, 2, -3)
    packed = tmp_path / "map.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_map(packed).origin == (2.0, 4.0, -6.0)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged gzip"):
        read_map(packed)


def test_maps_that_cannot_be_used(tmp_path):
    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.ones((4, 4, 4), np.float32))
    with pytest.raises(InputError, match="no voxel size"):
        read_map(path)
    assert read_map(path, 1.5).voxel_size == 1.5
    with mrcfile.open(path, "r+") as mrc:
        mrc.voxel_size = (1.0, 1.0, 2.0)
    with pytest.raises(InputError, match="not cubes"):
        read_map(path)
    bad = np.ones((4, 4, 4), np.float32)
    bad[1, 2, 3] = np.nan
    write_map(path, bad, 1.0)
    with pytest.raises(InputError, match="NaN"):
        read_map(path)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ones((4, 4, 4), np.complex64))
    with pytest.raises(InputError, match="mode 4"):
        read_map(path, 1.0)


def test_stack_written_in_parts_is_valid_and_complete(tmp_path):
    images = np.random.default_rng(0).normal(3, 2, size=(7, 9, 9)).astype(np.float32)
    path = tmp_path / "new" / "x.mrcs"
    with StackWriter(path, 7, 9, 1.07) as stack:
        stack.write(images[:3])
        stack.write(images[3])
        stack.write(images[4:])
    assert mrcfile.validate(path, print_file=io.StringIO())
    with mrcfile.open(path) as mrc:
        assert mrc.is_image_stack()
        np.testing.assert_array_equal(mrc.data, images)
        assert mrc.voxel_size.x == pytest.approx(1.07)
        assert mrc.header.rms == pytest.approx(images.std(), rel=1e-5)
        assert mrc.header.dmax == images.max()


def test_nothing_is_left_of_a_stack_that_failed(tmp_path):
    path = tmp_path / "x.mrcs"

    def stop_half_way():
        with StackWriter(path, 3, 4, 1.0) as stack:
            stack.write(np.ones((2, 4, 4)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    with pytest.raises(ValueError, match="2 of 3 images"), StackWriter(path, 3, 4, 1.0) as stack:
        stack.write(np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match="do not fit"), StackWriter(path, 3, 4, 1.0) as stack:
        stack.write(np.ones((2, 5, 5)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        write_map(tmp_path / "file" / "map.mrc", np.ones((2, 2, 2)), 1.0)
    with pytest.raises(InputError, match="cannot write"):
        write_stack("/dev/full/x.mrcs", np.ones((1, 2, 2)), 1.0)


def test_map_of_the_shared_data(shared_data):
    volume = read_map(shared_data / "maps" / "3j9g_potential_ps4_4.mrc")
    assert isinstance(volume, Map)
    assert volume.data.shape == (64, 64, 64)
    assert volume.voxel_size == pytest.approx(4.4)
