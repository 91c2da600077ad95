"""The inverse of a displacement field: exact where there is one, said where there is none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.gaussians import GaussianAtoms, gaussian_map
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.run_files import HalfModel
from vitreous.methods.flexible.undoing.deform_map import deform_map
from vitreous.methods.flexible.undoing.inverse import invert
from vitreous.methods.flexible.undoing.inverse_network import InverseOptions, fit_inverse
from vitreous.reconstruction.deformed import support_near
from vitreous.simulation.hinges import HingeField, two_domains

PIXEL = 4.0
HINGE = two_domains()
ATOMS = jnp.concatenate([HINGE.body, HINGE.arm])


class Turn(eqx.Module):
    """Everything turns about z by so many degrees: steep, and its inverse is known."""

    def __call__(self, points, z):
        angle = jnp.deg2rad(z[:, 0])[:, None]
        c, s = jnp.cos(angle), jnp.sin(angle)
        x, y, height = points[None, :, 0], points[None, :, 1], points[None, :, 2]
        still = jnp.broadcast_to(height, (len(z), len(points)))
        return jnp.stack([c * x - s * y, s * x + c * y, still], axis=-1) - points[None]


@pytest.mark.parametrize("angle", [5.0, 60.0, 150.0])
def test_turns_are_turned_back(angle) -> None:
    z = jnp.array([[angle]])
    found = invert(Turn(), ATOMS, z, 1e-3 * PIXEL)
    assert bool(jnp.all(found.converged))
    back = ATOMS + Turn()(ATOMS, -z)[0]
    np.testing.assert_allclose(found.points[0], back, atol=2e-3 * PIXEL)


def test_the_hinge_is_inverted_where_it_does_not_fold() -> None:
    field, z = HingeField(HINGE), jnp.array([[-25.0], [10.0], [25.0]])
    moved = ATOMS + field(ATOMS, z)[1]
    found = invert(field, moved, z, 1e-3 * PIXEL)
    assert bool(jnp.all(found.converged[1]))
    np.testing.assert_allclose(found.points[1], ATOMS, atol=5e-3 * PIXEL)
    # What is called converged is; the error of the rest is said.
    there = found.points[0] + jax.vmap(lambda p: field(p[None], z[:1])[0, 0])(found.points[0])
    off = np.linalg.norm(there - moved, axis=1)
    np.testing.assert_allclose(off, found.error[0], atol=1e-3)
    assert np.all(off[np.asarray(found.converged[0])] < 1.1e-3 * PIXEL)


def half_model(images: int = 64) -> HalfModel:
    field = make_deformation("factorised", 1, 40.0, 3.0, jax.random.key(1), modes=2, width=8)
    latents = np.random.default_rng(0).normal(size=(images, 1)).astype(np.float32)
    zeros = jnp.zeros(len(ATOMS))
    return HalfModel(GaussianModel(ATOMS, zeros, zeros + 1.6), field, np.arange(images), latents)


def test_a_network_learns_the_inverse() -> None:
    # Sixteen steps an epoch, of four images each: few images are learned as well as many.
    options = InverseOptions(epochs=10, learning_rate=5e-3)
    fit = fit_inverse(half_model(), options)
    assert fit.error < 0.3 * fit.motion


def test_a_map_is_carried_to_the_state() -> None:
    box, angle = 24, 15.0
    support = support_near(np.asarray(ATOMS), box, 5.0, 20.0, 10.0)
    ones = jnp.ones((len(ATOMS), 1))

    def drawn(places) -> np.ndarray:
        atoms = GaussianAtoms(places, ones, 49.0 * ones)
        return np.asarray(gaussian_map(atoms, box, 5.0, sampling="point"))

    moved = ATOMS + Turn()(ATOMS, jnp.array([[angle]]))[0]
    made = deform_map(drawn(ATOMS), support, Turn(), np.array([angle], np.float32))
    before = np.corrcoef(drawn(ATOMS).ravel(), drawn(moved).ravel())[0, 1]
    after = np.corrcoef(made.ravel(), drawn(moved).ravel())[0, 1]
    assert after > 0.995
    assert 1 - after < 0.2 * (1 - before)
