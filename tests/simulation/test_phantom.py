"""The hinging molecule moves rigidly by the angle it says, and looks like none of its images."""

import jax.numpy as jnp
import numpy as np

from vitreous.imaging.gaussians import gaussian_map
from vitreous.simulation.phantom import hinge_phantom

HINGE = hinge_phantom()
BODY = len(HINGE.body)


def test_the_arm_turns_as_a_rigid_body() -> None:
    position = np.asarray(HINGE.at(jnp.array([0.0, 25.0, 60.0])).position, np.float64)
    np.testing.assert_array_equal(position[0, :BODY], position[2, :BODY])
    arm = position[:, BODY:]
    apart = np.linalg.norm(arm[:, :100, None] - arm[:, None, -100:], axis=-1)
    np.testing.assert_allclose(apart[1:], np.broadcast_to(apart[0], apart[1:].shape), atol=1e-4)


def test_the_arm_turns_by_the_angle_right_handed_about_its_axis() -> None:
    position = np.asarray(HINGE.at(jnp.array([0.0, 25.0])).position, np.float64)
    arm = position[:, BODY:] - np.asarray(HINGE.pivot, np.float64)
    axis = np.asarray(HINGE.axis, np.float64)
    flat = arm - (arm @ axis)[..., None] * axis
    far = np.linalg.norm(flat[0], axis=1) > 20
    sine = np.cross(flat[0], flat[1]) @ axis
    cosine = np.sum(flat[0] * flat[1], axis=1)
    np.testing.assert_allclose(np.rad2deg(np.arctan2(sine, cosine))[far], 25, atol=1e-3)


def test_it_fits_its_box_and_has_thousands_of_atoms() -> None:
    position = np.asarray(HINGE.at(jnp.linspace(0.0, 60.0, 4)).position)
    assert position.shape[1] > 3000
    assert np.linalg.norm(position, axis=-1).max() < 64 * 3.2 / 2 - 8


def test_no_mirror_image_or_half_turn_fits() -> None:
    """Axes swapped or flipped, the map correlates with itself by the overall shape alone."""
    atoms = HINGE.at(jnp.array([30.0]))
    volume = gaussian_map(atoms._replace(position=atoms.position[0]), 25, 8.0)
    volume = np.asarray(volume)

    def correlation(other: np.ndarray) -> float:
        return float(np.corrcoef(volume.ravel(), other.ravel())[0, 1])

    changed = [np.flip(volume, axis) for axis in (0, 1, 2, (0, 1), (0, 2), (1, 2), (0, 1, 2))]
    changed += [volume.transpose(axes) for axes in ((2, 1, 0), (1, 0, 2), (0, 2, 1))]
    assert max(correlation(other) for other in changed) < 0.6
