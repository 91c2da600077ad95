"""The commands: the peer's files come out, and bad input costs one line and status 2."""

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.mrc import read_header
from vitreous.particles import load_pickle, read_map, read_particles, save_pickles, write_map

PFCRT = "FinalRefinement-OriginalParticles-PfCRT.star"
P12 = "cryosparc_P12_J24_001_particles.cs"


def run(*words):
    """Run a command; return its exit status."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


def refused(capsys, *words):
    """Run a command that must fail on its input; return the one line it prints."""
    assert run(*words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("vitreous: ")
    return lines[0]


def assert_same_pickles(path, peer, atol=1e-6):
    ours, theirs = load_pickle(path), load_pickle(peer)
    for a, b in zip(
        np.atleast_1d(ours) if isinstance(ours, np.ndarray) else ours, theirs, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def test_parse_pose_star(shared_data, tmp_path):
    folder = shared_data / "interop"
    assert run("parse_pose_star", folder / PFCRT, "-o", tmp_path / "p.pkl", "-D", 300) == 0
    assert_same_pickles(tmp_path / "p.pkl", folder / "pose.star.pkl")


def test_parse_ctf_star(shared_data, tmp_path):
    folder = shared_data / "interop"
    out, png = tmp_path / "c.pkl", tmp_path / "c.png"
    words = ["parse-ctf-star", folder / PFCRT, "-D", 300, "--Apix", 1.035, "-w", 0.1]
    assert run(*words, "-o", out, "--png", png) == 0
    assert_same_pickles(out, folder / "ctf1.pkl")
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_parse_ctf_star_of_tilt_series(shared_data, tmp_path):
    folder = shared_data / "interop"
    words = ["parse_ctf_star", folder / "sta_testing_bin8.star", "-D", 512, "--Apix", 1.82]
    assert run(*words, "-o", tmp_path / "c.pkl") == 0
    assert_same_pickles(tmp_path / "c.pkl", folder / "sta_ctf.pkl")


def test_parse_csparc(shared_data, tmp_path):
    folder = shared_data / "interop"
    assert run("parse_pose_csparc", folder / P12, "-o", tmp_path / "p.pkl", "-D", 180) == 0
    assert_same_pickles(tmp_path / "p.pkl", folder / "pose.cs.pkl", atol=3e-6)
    assert run("parse-ctf-cs", folder / P12, "-o", tmp_path / "c.pkl") == 0
    assert_same_pickles(tmp_path / "c.pkl", folder / "ctf2.pkl")


def test_options_take_the_place_of_the_file(shared_data, tmp_path):
    path = shared_data / "interop" / "relion31.star"
    words = ["--kv", 200, "--cs", 2, "-w", 0.07, "--ps", 45, "-D", 100, "--Apix", 2]
    assert run("parse-ctf-star", path, "-o", tmp_path / "c.pkl", *words) == 0
    values = load_pickle(tmp_path / "c.pkl")
    np.testing.assert_allclose(values[0, [0, 1, 5, 6, 7, 8]], [100, 2, 200, 2, 0.07, 45])


def test_mixed_groups_keep_their_pixel_size_in_the_pickle(shared_data, tmp_path):
    path = shared_data / "interop" / "relion31.6opticsgroups.star"
    assert run("parse-ctf-star", path, "-o", tmp_path / "c.pkl") == 0
    values = load_pickle(tmp_path / "c.pkl")
    np.testing.assert_allclose(values[:, 1], read_particles(path).pixel_size, rtol=1e-6)


def heterogeneous(tmp_path, prefix, sampling):
    fields = [("uid", "u8"), ("blob/shape", "u4", 2), ("blob/psize_A", "f4")]
    fields += [(f"{prefix}/pose", "f4", 3), (f"{prefix}/shift", "f4", 2)]
    fields += [(f"{prefix}/psize_A", "f4")] if sampling else []
    table = np.zeros(3, fields)
    table["blob/shape"], table["blob/psize_A"] = 100, 1.5
    table[f"{prefix}/shift"] = 5
    if sampling:
        table[f"{prefix}/psize_A"] = sampling
    with (tmp_path / "h.cs").open("wb") as handle:
        np.save(handle, table)
    return tmp_path / "h.cs"


@pytest.mark.parametrize(
    ("prefix", "sampling", "flags", "expected"),
    [
        ("alignments3D", None, [], 0.05),
        ("alignments3D", None, ["--hetrefine"], 0.10),
        ("alignments3D", 1.5, ["--hetrefine"], 0.10),
        # The file itself says that shifts are at twice the sampling.
        ("alignments3D", 3.0, ["--hetrefine"], 0.10),
        ("alignments3D", 3.0, [], 0.10),
        ("alignments_class_0", None, ["--abinit"], 0.05),
    ],
)
def test_sampling_of_cryosparc_shifts(tmp_path, prefix, sampling, flags, expected):
    path = heterogeneous(tmp_path, prefix, sampling)
    assert run("parse-pose-csparc", path, "-o", tmp_path / "p.pkl", *flags) == 0
    np.testing.assert_allclose(load_pickle(tmp_path / "p.pkl")[1], expected, rtol=1e-6)


def test_downsample_star(particle_set, tmp_path, capsys):
    out = tmp_path / "small.star"
    assert run("downsample", particle_set, "-D", 5, "-o", out) == 0
    assert "6 images, 5×5 pixels of 2.4 Å" in capsys.readouterr().out
    back = read_particles(out)
    np.testing.assert_allclose(back.pixel_size, 2.4)
    assert read_header(tmp_path / "small.mrcs").voxel_size[0] == pytest.approx(2.4)


def test_downsample_selection_in_chunks(particle_set, tmp_path):
    save_pickles(tmp_path / "ind.pkl", np.array([5, 0, 2]))
    words = ["--ind", tmp_path / "ind.pkl", "--chunk", 2, "-b", 1, "--max_threads", 2]
    assert run("downsample", particle_set, "-D", 4, "-o", tmp_path / "s.mrcs", *words) == 0
    assert read_header(tmp_path / "s.1.mrcs").shape == (1, 4, 4)


def test_downsample_volume(tmp_path):
    write_map(tmp_path / "v.mrc", np.ones((9, 9, 9)), 1.0, (1.0, 2.0, 3.0))
    words = ["-D", 6, "--is-vol", "-o", tmp_path / "w.mrc"]
    assert run("downsample", tmp_path / "v.mrc", *words) == 0
    small = read_map(tmp_path / "w.mrc")
    assert small.voxel_size == pytest.approx(1.5)
    np.testing.assert_allclose(small.data, 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["downsample", "parse-pose-star", "parse-ctf-csparc"])
def test_help_ends_with_an_example(name, capsys):
    assert run(name, "--help") == 0
    assert f"Example: vitreous {name}" in " ".join(capsys.readouterr().out.split())


def test_bad_input_costs_one_line_and_status_2(particle_set, tmp_path, capsys):
    small = ["-D", 4, "-o", tmp_path / "out.mrcs"]
    stack = tmp_path / "images.mrcs"
    good = stack.read_bytes()

    stack.write_bytes(good[:-10])
    assert "truncated" in refused(capsys, "downsample", particle_set, *small)
    stack.write_bytes(good)
    np.save(tmp_path / "i.npy", [17])
    line = refused(capsys, "downsample", particle_set, *small, "--ind", tmp_path / "i.npy")
    assert "asks for row 17" in line
    stack.unlink()
    assert "no such file; tried" in refused(capsys, "downsample", particle_set, *small)
    assert "no such folder" in refused(
        capsys, "downsample", particle_set, *small, "--datadir", tmp_path / "nowhere"
    )
    (tmp_path / "words.txt").write_text("absent.mrcs\n")
    line = refused(capsys, "downsample", tmp_path / "words.txt", *small)
    assert "absent.mrcs (named in" in line
    assert "not .star, .cs" in refused(capsys, "downsample", tmp_path / "x.pdf", *small)
    assert "cannot be read" in refused(capsys, "downsample", tmp_path / "x.mrcs", *small)
    assert not (tmp_path / "out.mrcs").exists()


def test_metadata_that_lacks_something(shared_data, tmp_path, capsys):
    folder, out = shared_data / "interop", ["-o", tmp_path / "p.pkl"]
    assert "give -D" in refused(capsys, "parse-pose-star", folder / PFCRT, *out)
    line = refused(capsys, "parse-ctf-star", folder / PFCRT, "-D", 300, *out)
    assert "no _rlnAmplitudeContrast" in line
    line = refused(capsys, "parse-pose-csparc", folder / "empiar_10076_7.cs", *out)
    assert "alignments3D/pose" in line
    line = refused(capsys, "parse-pose-csparc", folder / P12, "--abinit", *out)
    assert "without --abinit" in line
    assert "no Euler angles" in refused(
        capsys, "parse-pose-star", folder / "toy_projections.star", "-D", 30, *out
    )
    assert "the shift puts" in refused(capsys, "parse-pose-csparc", folder / P12, "-D", 4, *out)
    assert "--Apix" in refused(
        capsys, "parse-ctf-star", folder / "toy_projections.star", "-D", 30, *out
    )
    assert not (tmp_path / "p.pkl").exists()


def test_tomo_tables_have_no_poses_of_images(tmp_path, capsys):
    path = tmp_path / "tomo.star"
    path.write_text("data_particles\nloop_\n_rlnTomoName\n_rlnImageName\nt p1.mrcs\n")
    line = refused(capsys, "parse-pose-star", path, "-o", tmp_path / "p.pkl")
    assert "particles of tomograms" in line


def test_ctrl_c_leaves_nothing(particle_set, tmp_path, monkeypatch):
    from vitreous.particles import source

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(source.ImageSource, "read", interrupt)
    before = sorted(tmp_path.iterdir())
    assert run("downsample", particle_set, "-D", 4, "-o", tmp_path / "out.mrcs") == 130
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk(particle_set, capsys, monkeypatch):
    import errno

    from vitreous.particles.stack import StackWriter

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StackWriter, "write", full)
    out = particle_set.parent / "new" / "out.mrcs"
    line = refused(capsys, "downsample", particle_set, "-D", 4, "-o", out)
    assert list(out.parent.iterdir()) == []
    assert "No space left on device" in line
