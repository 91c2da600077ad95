"""Checkpoints of cryoDRGN are read without running them, and decode to the same volume."""

import pickle
import zipfile

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.methods.latent.peer import load_peer_checkpoint
from vitreous.particles.torch_archive import read_torch_archive


def test_peer_volume_agrees(shared_data):
    folder = shared_data / "interop"
    model = load_peer_checkpoint(folder / "het_weights.pkl", folder / "het_config.yaml")
    volume = model.decode(np.zeros((1, 8), np.float32))[0]
    # The peer's figures for z = 0 (README of the shared data), printed to 7 digits.
    assert volume.mean() == pytest.approx(-0.0016727, abs=1e-7)
    assert volume.std() == pytest.approx(0.0643445, abs=1e-6)
    assert np.unravel_index(volume.argmin(), volume.shape) == (32, 32, 32)
    assert volume.min() == pytest.approx(-5.74958, abs=1e-4)
    assert volume[20, 30, 40] == pytest.approx(-0.0637242, abs=1e-6)


def test_wrong_latent_size_is_refused(shared_data):
    folder = shared_data / "interop"
    model = load_peer_checkpoint(folder / "het_weights.pkl", folder / "het_config.yaml")
    with pytest.raises(InputError, match="8 latent dimensions"):
        model.decode(np.zeros((1, 3), np.float32))


class _Evil:
    def __reduce__(self):
        return (print, ("owned",))


def test_archive_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "weights.pkl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps(_Evil()))
    with pytest.raises(InputError, match="can run code"):
        read_torch_archive(path)
    assert "owned" not in capsys.readouterr().out


def test_files_that_are_no_archives_are_named(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(b"not a zip")
    with pytest.raises(InputError, match="not a PyTorch checkpoint"):
        read_torch_archive(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_torch_archive(tmp_path / "none.pkl")
