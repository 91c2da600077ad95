"""cryoSPARC tables against the peer's stored numbers, passthrough files, and writing back."""

import dataclasses

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.particles import (
    ImageSource,
    load_pickle,
    read_ctf_pickle,
    read_particles,
    write_stack,
)
from vitreous.particles.downsample import downsample_particles

BLOB = [
    ("blob/path", "S16"),
    ("blob/idx", "u4"),
    ("blob/shape", "u4", 2),
    ("blob/psize_A", "f4"),
]
POSE = [
    ("alignments3D/pose", "f4", 3),
    ("alignments3D/shift", "f4", 2),
    ("alignments3D/psize_A", "f4"),
    ("alignments3D/split", "u4"),
]
CTF = [
    (f"ctf/{name}", "f4")
    for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv", "cs_mm", "amp_contrast")
]


def table_of(fields, count=4, seed=0):
    generator = np.random.default_rng(seed)
    table = np.zeros(count, [("uid", "u8"), *fields])
    table["uid"] = 1000 + np.arange(count)
    names = table.dtype.names
    if "blob/path" in names:
        table["blob/path"] = b">s.mrc"
        table["blob/idx"] = np.arange(count)[::-1]
        table["blob/shape"] = 8
        table["blob/psize_A"] = 1.31
    if "alignments3D/pose" in names:
        table["alignments3D/pose"] = generator.normal(size=(count, 3))
        table["alignments3D/pose"][0] = 0
        table["alignments3D/shift"] = generator.uniform(-1, 1, (count, 2))
        table["alignments3D/psize_A"] = 2.62
        table["alignments3D/split"] = np.arange(count) % 2
    if "ctf/df1_A" in names:
        table["ctf/df1_A"] = generator.uniform(1e4, 2e4, count)
        table["ctf/df2_A"] = 1e4
        table["ctf/df_angle_rad"] = 0.5
        table["ctf/accel_kv"], table["ctf/cs_mm"], table["ctf/amp_contrast"] = 300, 2.7, 0.1
    return table


def save(path, table):
    with path.open("wb") as handle:
        np.save(handle, table)
    return path


@pytest.fixture
def whole(tmp_path):
    write_stack(tmp_path / "s.mrc", np.arange(4 * 64).reshape(4, 8, 8), 1.31)
    return save(tmp_path / "whole.cs", table_of(BLOB + POSE + CTF))


def test_agrees_with_the_peers_pickles(shared_data):
    folder = shared_data / "interop"
    table = read_particles(folder / "cryosparc_P12_J24_001_particles.cs")
    rotation, translation = load_pickle(folder / "pose.cs.pkl")
    np.testing.assert_allclose(table.rotation, rotation, atol=2e-6)
    side = table.box * table.pixel_size
    np.testing.assert_allclose(-table.shift / side[:, None], translation, atol=1e-7)
    peer, box, pixel_size = read_ctf_pickle(folder / "ctf2.pkl")
    np.testing.assert_array_equal(table.box, box)
    np.testing.assert_allclose(table.pixel_size, pixel_size, rtol=1e-6)
    for name, ours, theirs in zip(table.ctf._fields, table.ctf, peer, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=name)


def test_two_formats_of_the_same_images(shared_data):
    star = read_particles(shared_data / "interop" / "empiar_10076_7.star")
    cs = read_particles(shared_data / "interop" / "empiar_10076_7.cs")
    np.testing.assert_allclose(star.pixel_size, cs.pixel_size, rtol=1e-6)
    for name, ours, theirs in zip(star.ctf._fields, star.ctf, cs.ctf, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
    rows = np.arange(7)
    # The .cs says that these particles are dark as stored (blob/sign); a .star cannot.
    assert cs.sign.tolist() == [-1] * 7
    np.testing.assert_array_equal(ImageSource(star).read(rows), -ImageSource(cs).read(rows))


def test_fields(whole):
    table = read_particles(whole)
    raw = np.load(whole)
    assert table.pixel_size.tolist() == [1.31] * 4
    assert table.rotation[0].tolist() == np.eye(3).tolist()
    active = rotation_vector_to_matrix(np.degrees(raw["alignments3D/pose"][3].astype(float)))
    np.testing.assert_allclose(table.rotation[3], active.T, atol=1e-6)
    # Shifts are pixels of the alignment, here twice the stored sampling.
    np.testing.assert_allclose(table.shift, -2.62 * raw["alignments3D/shift"], rtol=1e-6)
    assert table.half_set.tolist() == [0, 1, 0, 1]
    assert table.image_index.tolist() == [3, 2, 1, 0]
    assert table.ctf.defocus_angle[0] == pytest.approx(np.degrees(0.5))
    assert ImageSource(table).read(np.array([3]))[0, 0, 1] == 1


def test_passthrough_beside_the_file_is_joined_by_uid(whole, tmp_path):
    main = save(tmp_path / "cryosparc_P1_J2_particles.cs", table_of(POSE))
    extra = table_of(BLOB + CTF)
    whole.unlink()
    save(tmp_path / "cryosparc_P1_J2_passthrough_particles.cs", extra[[2, 0, 3, 1]])
    # One that knows other particles must not be taken.
    stranger = table_of(BLOB + CTF)
    stranger["uid"] += 7
    stranger["blob/psize_A"] = 9
    save(tmp_path / "cryosparc_P1_J1_passthrough_particles.cs", stranger)
    table = read_particles(main)
    assert table.image_index.tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(table.ctf.defocus_u, extra["ctf/df1_A"])
    with pytest.raises(InputError, match="lacks some of the particles"):
        read_particles(main, passthrough=tmp_path / "cryosparc_P1_J1_passthrough_particles.cs")


def test_selection_keeps_uids_and_every_field(shared_data, tmp_path):
    path = shared_data / "interop" / "cryosparc_P12_J24_001_particles.cs"
    table = read_particles(path)
    table.select(np.arange(0, 2019, 3)).select([5, 1, 2]).to_cs(tmp_path / "kept.cs")
    kept, parent = np.load(tmp_path / "kept.cs"), np.load(path)
    assert kept.dtype == parent.dtype
    np.testing.assert_array_equal(kept, parent[[15, 3, 6]])


def test_new_poses_are_written_at_the_sampling_of_the_alignment(whole, tmp_path):
    table = read_particles(whole)
    rotation = table.rotation[[3, 2, 1, 0]]
    shift = table.shift + np.float32(1)
    table.replace(rotation=rotation, shift=shift).to_cs(tmp_path / "new.cs")
    write_stack(tmp_path / "s.mrc", np.zeros((4, 8, 8)), 1.31)
    back = read_particles(tmp_path / "new.cs")
    np.testing.assert_allclose(back.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(back.shift, shift, rtol=1e-5)
    assert (np.load(tmp_path / "new.cs")["uid"] == np.load(whole)["uid"]).all()


def test_written_as_star_and_read_back(whole, tmp_path):
    from particle_tables import assert_same_particles

    table = read_particles(whole)
    table.to_star(tmp_path / "out.star")
    assert_same_particles(table, read_particles(tmp_path / "out.star"))
    with pytest.raises(InputError, match=r"not a \.cs file"):
        read_particles(tmp_path / "out.star").to_cs(tmp_path / "out.cs")


def test_files_that_cannot_be_read(tmp_path, whole):
    path = tmp_path / "bad.cs"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"bad\.cs: is not a \.cs table"):
        read_particles(path)
    path.write_bytes(b"\x94CSDAT" + bytes(20))
    with pytest.raises(InputError, match="CSDAT"):
        read_particles(path)
    save(path, np.zeros(3))
    with pytest.raises(InputError, match="no named fields"):
        read_particles(path)
    path.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"bad\.cs: not a readable \.cs table"):
        read_particles(path)
    path.write_bytes(b"\x93NUMPY junk")
    with pytest.raises(InputError, match=r"bad\.cs: not a readable"):
        read_particles(path)
    save(path, table_of(POSE))
    with pytest.raises(InputError, match="has no field blob/path"):
        read_particles(path)
    nan = table_of(BLOB + POSE + CTF)
    nan["ctf/df1_A"][2] = np.nan
    with pytest.raises(InputError, match="row 3: ctf/df1_A is not a finite number"):
        read_particles(save(path, nan))


def test_long_headers_are_read(tmp_path):
    fields = [(f"custom_{k}/field_with_a_long_name", "f4") for k in range(800)]
    write_stack(tmp_path / "s.mrc", np.zeros((4, 8, 8)), 1.31)
    assert len(read_particles(save(tmp_path / "long.cs", table_of(BLOB + fields)))) == 4


def test_inverted_images_are_turned_once(shared_data, tmp_path, caplog):
    cs = read_particles(shared_data / "interop" / "empiar_10076_7.cs")
    images = ImageSource(cs).read(np.arange(7))
    # Only some rows: signs follow their rows.
    mixed = dataclasses.replace(cs, sign=np.int8([1, -1, 1, -1, 1, -1, 1])).select([5, 0])
    expected = images[[5, 0]] * np.float32([1, -1])[:, None, None]
    np.testing.assert_array_equal(ImageSource(mixed).read(np.arange(2)), expected)
    # A written stack holds what was read, and its table says so.
    smaller = downsample_particles(cs, 32, tmp_path / "small.star")
    assert smaller.sign is None
    assert not caplog.text
    back = ImageSource(read_particles(tmp_path / "small.star")).read(np.arange(7))
    mean = images.mean(axis=(1, 2))
    np.testing.assert_allclose(back.mean(axis=(1, 2)), mean, atol=1e-3 * np.abs(images).max())
    cs.to_star(tmp_path / "same.star")
    assert "inverted contrast" in caplog.text
