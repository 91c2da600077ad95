"""The names of `vitreous.imaging` are all there, and cost nothing until they are used."""

import subprocess
import sys

import pytest

import vitreous.imaging


@pytest.mark.parametrize("name", vitreous.imaging.__all__)
def test_names_exist(name: str):
    assert getattr(vitreous.imaging, name).__name__ == name


def test_other_names_do_not():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        vitreous.imaging.Nothing  # noqa: B018


def test_importing_loads_nothing():
    code = "import sys, vitreous.imaging; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
