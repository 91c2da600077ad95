"""A small particle set on disk."""

from pathlib import Path

import numpy as np
import pytest
from particle_tables import random_table

from vitreous.particles import write_stack


@pytest.fixture
def particle_set(tmp_path) -> Path:
    """A `.star` of six images 8×8 beside its stack."""
    generator = np.random.default_rng(1)
    write_stack(tmp_path / "images.mrcs", generator.normal(size=(6, 8, 8)), 1.5)
    random_table(stack=tmp_path / "images.mrcs").to_star(tmp_path / "particles.star")
    return tmp_path / "particles.star"
