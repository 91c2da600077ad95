"""Series of maps and movies on disk: names, headers, scripts, frames."""

import itertools

import numpy as np
import pytest
from PIL import Image
from toy_landscape import BOX, load_decoder

from vitreous.analysis.chimerax import series_script
from vitreous.analysis.movies import render_series, there_and_back, write_gif, write_mp4
from vitreous.analysis.postprocess import VolumeOptions
from vitreous.analysis.series import write_series, write_single
from vitreous.analysis.view import choose_view
from vitreous.maps import read_map

DECODE = load_decoder(None, 1)
Z = np.array([[-2.0, 0], [0, 0], [2, 0]], np.float32)


def test_a_series_has_the_names_and_numbers_its_readers_expect(tmp_path):
    told = []
    series = write_series(
        DECODE, Z, tmp_path, 2.0, first=5, batch=2, progress=lambda *a: told.append(a)
    )
    assert series.names == ("vol_005.mrc", "vol_006.mrc", "vol_007.mrc")
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(np.loadtxt(tmp_path / "z_values.txt"), Z)
    third = read_map(tmp_path / "vol_007.mrc")
    np.testing.assert_array_equal(third.data, DECODE(Z[2:])[0])
    assert (third.voxel_size, third.origin) == (2.0, (0.0, 0.0, 0.0))
    script = (tmp_path / "series.cxc").read_text()
    assert "open vol_005.mrc vol_006.mrc vol_007.mrc vseries true" in script
    assert f"level {series.level:.6g}" in script
    assert 0 < series.level < 1


def test_treatment_reaches_the_files(tmp_path):
    options = VolumeOptions(downsample=16, invert=True)
    series = write_series(DECODE, Z[:1], tmp_path, 2.0, options, prefix="v")
    found = read_map(tmp_path / "v001.mrc")
    assert found.data.shape == (16, 16, 16)
    assert found.voxel_size == pytest.approx(2.0 * BOX / 16)
    assert found.data.mean() < 0
    assert series.volumes[0].shape == (16, 16, 16)
    write_single(DECODE, Z[:1], tmp_path / "one.mrc", 2.0, options)
    np.testing.assert_array_equal(read_map(tmp_path / "one.mrc").data, found.data)


def test_scripts_quote_names_and_do_not_play_clusters():
    script = series_script(["a b.mrc", "c.mrc"], 0.25, "clusters", is_path=False)
    assert 'open "a b.mrc" c.mrc vseries true' in script
    assert "oscillate" not in script
    assert "vseries" not in series_script(["one.mrc"], 1.0, "one")


def test_movies_move(tmp_path):
    volumes = tuple(DECODE(Z))
    pictures = render_series(volumes, choose_view(volumes), 48)
    assert any((a != b).any() for a, b in itertools.pairwise(pictures))
    loop = there_and_back(pictures)
    assert [id(p) for p in loop] == [id(pictures[i]) for i in (0, 1, 2, 1)]
    write_gif(tmp_path / "movie.gif", loop)
    with Image.open(tmp_path / "movie.gif") as movie:
        assert movie.n_frames == 4
        assert movie.info["loop"] == 0
        frames = []
        for k in range(4):
            movie.seek(k)
            frames.append(np.asarray(movie.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[1]).max() > 60
    np.testing.assert_array_equal(frames[1], frames[3])
    if write_mp4(tmp_path / "movie.mp4", loop):
        assert (tmp_path / "movie.mp4").read_bytes()[4:8] == b"ftyp"
