"""Particle tables for tests, and what it means that two are the same."""

import numpy as np

from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable


def random_table(count=6, box=8, pixel_size=1.5, stack="images.mrcs", seed=0):
    """Make a table whose every column differs from row to row."""
    generator = np.random.default_rng(seed)
    angles = generator.uniform((-90, 1, -90), (90, 179, 90), (count, 3))

    def column(low, high):
        return generator.uniform(low, high, count).astype(np.float32)

    constant = np.ones(count, np.float32)
    return ParticleTable(
        stacks=(str(stack),),
        stack_id=np.zeros(count, np.int32),
        image_index=np.arange(count),
        box=np.full(count, box, np.int32),
        pixel_size=np.full(count, pixel_size),
        rotation=euler_to_matrix(angles).astype(np.float32),
        shift=generator.uniform(-3, 3, (count, 2)).astype(np.float32),
        ctf=CTFParameters(
            column(8e3, 2e4),
            column(8e3, 2e4),
            column(-90, 90),
            300 * constant,
            2.7 * constant,
            np.float32(0.07) * constant,
            column(0, 90),
            column(0, 50),
            column(0.5, 1),
        ),
        optics_group=np.zeros(count, np.int32),
        half_set=(np.arange(count) % 2).astype(np.int8),
        row=np.arange(count),
    )


def assert_same_particles(first, second, rtol=1e-6):
    """Compare everything two tables say of their particles."""
    assert first.half_set is None or (first.half_set == second.half_set).all()
    np.testing.assert_array_equal(first.image_index, second.image_index)
    np.testing.assert_array_equal(first.box, second.box)
    np.testing.assert_allclose(first.pixel_size, second.pixel_size, rtol=1e-9)
    # Angles are written to 1e-6 degrees and shifts to 1e-6 Å.
    np.testing.assert_allclose(first.rotation, second.rotation, atol=2e-7)
    np.testing.assert_allclose(first.shift, second.shift, atol=1e-6)
    for name, one, two in zip(first.ctf._fields, first.ctf, second.ctf, strict=True):
        np.testing.assert_allclose(one, two, rtol=rtol, err_msg=name)
