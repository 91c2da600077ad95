"""Following a cloud of points through maps: hinges whose true motion is known at every point."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.imaging.gaussians import gaussian_map
from vitreous.methods.flexible.deformation import make_deformation
from vitreous.methods.flexible.starts.anchors import (
    Anchors,
    choose_anchors,
    most_open,
    spanning_steps,
)
from vitreous.methods.flexible.starts.landscape_start import (
    LandscapeStart,
    carry,
    fit_modes,
    mode_weights,
    start_from_anchors,
)
from vitreous.methods.flexible.starts.matching import match, transport_plan
from vitreous.methods.flexible.starts.rigid_shape import RigidShape, neighbour_edges
from vitreous.methods.flexible.starts.tracking import Step, cloud_of_map, thin_out, track
from vitreous.simulation.phantom import Hinge

_BOX, _VOXEL = 24, 5.0


def molecule(tilt, axis):
    """Make a body with a long flat arm on a point, tilted in degrees; it turns about an axis."""
    rng = np.random.default_rng(0)

    def ball(count):
        points = rng.uniform(-1, 1, (4 * count, 3))
        return points[np.sum(points**2, axis=1) < 1][:count]

    t = np.deg2rad(tilt)
    turn = np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0], [-np.sin(t), 0, np.cos(t)]])
    body = ball(120) * np.array([26.0, 18, 17]) + np.array([0, 0, -22.0])
    arm = (ball(100) * np.array([8.0, 13, 24]) + np.array([0, 0, 30.0])) @ turn.T
    parts = (jnp.asarray(part, jnp.float32) for part in (body, arm, np.zeros(3), np.array(axis)))
    return Hinge(*parts, 20.0, 5.2)


def maps_of(hinge, angles):
    """Draw the molecule at hinge angles (degrees)."""
    draw = jax.jit(lambda t: gaussian_map(hinge.at(t), _BOX, _VOXEL))
    return np.stack([np.asarray(draw(jnp.float32(angle))) for angle in angles])


def truth_at(hinge, points, angles):
    """Move points as the hinge does: with the domain of the pseudo-atom nearest to each."""
    body, arm = np.asarray(hinge.body), np.asarray(hinge.arm)
    to_body = np.linalg.norm(points[:, None] - body[None], axis=-1).min(axis=1)
    to_arm = np.linalg.norm(points[:, None] - arm[None], axis=-1).min(axis=1)
    turns = to_arm < to_body
    whole = eqx.tree_at(lambda h: h.arm, hinge, jnp.asarray(points[turns], jnp.float32))
    moved = np.repeat(points[None], len(angles), axis=0)
    at = np.asarray(whole.at(jnp.asarray(angles, jnp.float32)).position)
    moved[:, turns] = at[:, len(body) :]
    return moved, turns


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def swing():
    """±60° in steps of 20°, the resting map first."""
    angles = np.array([0, 20, 40, 60, -20, -40, -60], np.float64)
    hinge = molecule(0.0, [0.0, 1.0, 0.0])
    maps = maps_of(hinge, angles)
    clouds = [cloud_of_map(one, _VOXEL) for one in maps]
    tree, loops = spanning_steps(maps, 0)
    found = track(thin_out(clouds[0], 120), clouds, tree, loops)
    return hinge, angles, maps, tree, found


def test_a_large_swing_is_followed(swing):
    hinge, angles, _, tree, found = swing
    # The tree goes out both ways, one step at a time.
    assert {(abs(angles[a]), abs(angles[b])) for a, b in tree} == {(0, 20), (20, 40), (40, 60)}
    assert len(found.mismatch) == 0
    true, turns = truth_at(hinge, found.rest.points, angles)
    error = np.sqrt(np.mean(np.sum((found.positions - true)[:, turns] ** 2, axis=-1)))
    moved, wanted = found.positions - found.rest.points[None], true - found.rest.points[None]
    # A fifth of a voxel, where the arm moves by 21 Å.
    assert error < 1.0
    assert np.corrcoef(moved.ravel(), wanted.ravel())[0, 1] > 0.995
    still = np.sqrt(np.mean(np.sum(moved[:, ~turns] ** 2, axis=-1)))
    assert still < 0.5


def test_modes_give_each_image_its_motion(swing):
    hinge, angles, maps, _, found = swing
    # A landscape of one coordinate: the angle.
    anchors = Anchors(angles[:, None] / 30, maps, _VOXEL)
    images = np.linspace(-60, 60, 41)[:, None]
    weights = start_from_anchors(found, anchors.latents, images / 30, modes=4)
    assert 2 <= weights.shape[1] <= 4
    start = LandscapeStart(anchors, found, 0, maps[0], weights)
    atoms = np.asarray(hinge.at(jnp.float32(0.0)).position, np.float64)
    modes = start.modes(atoms)
    moved = np.einsum("nk,mkx->nmx", weights, modes)
    true = np.asarray(hinge.at(jnp.asarray(images[:, 0], jnp.float32)).position) - atoms[None]
    assert np.corrcoef(moved.ravel(), true.ravel())[0, 1] > 0.98
    # Nothing moves in the reference.
    assert np.abs(moved[20]).max() < 0.5
    field = make_deformation("factorised", 4, 45.0, 10.0, jax.random.key(0), modes=6)
    taught = fit_modes(field, atoms, modes)
    z = jnp.asarray(np.pad(weights, ((0, 0), (0, 4 - weights.shape[1]))))
    learned = np.asarray(taught(jnp.asarray(atoms, jnp.float32), z))
    assert np.sqrt(np.mean((learned - moved) ** 2)) < 0.15 * np.sqrt(np.mean(moved**2))
    assert not np.asarray(taught(jnp.asarray(atoms, jnp.float32), 0 * z[:1])).any()


def test_a_full_turn_closes_or_says_that_it_does_not():
    tilted = molecule(50.0, [0.0, 0.0, 1.0])
    angles = np.arange(0, 360, 45).astype(np.float64)
    maps = maps_of(tilted, angles)
    clouds = [cloud_of_map(one, _VOXEL) for one in maps]
    tree, loops = spanning_steps(maps, 0)
    assert len(loops) == 1
    # The two ways meet on the far side.
    assert 180.0 in {angles[i] for i in loops[0]}
    found = track(thin_out(clouds[0], 100), clouds, tree, loops, passes=1)
    true, turns = truth_at(tilted, found.rest.points, angles)
    assert np.sqrt(np.mean(np.sum((found.positions - true)[:, turns] ** 2, axis=-1))) < 1.5
    assert found.mismatch[0] < 0.1 * found.excursion[0]


def test_matching_is_a_plan_and_knows_no_pull_inwards(rng):
    points, targets = rng.normal(0, 10, (40, 3)), rng.normal(0, 10, (60, 3))
    mass, weight = np.full(40, 1 / 40), np.full(60, 1 / 60)
    plan = transport_plan(points, mass, targets, weight, 4.0, 1e4)
    # With an endless reach all mass is carried; columns are exact after the last rescaling.
    np.testing.assert_allclose(plan.sum(axis=0), weight, rtol=1e-3)
    np.testing.assert_allclose(plan.sum(axis=1), mass, rtol=0.05)
    same, found = match(points, mass, points, mass, 8.0, 40.0)
    np.testing.assert_allclose(same, points, atol=1e-6)
    assert (found > 0.8).all()
    away, _ = match(points, mass, points + 5.0, mass, 4.0, 1e4)
    assert np.abs(away - points - 5.0).mean() < 0.5
    # What lies out of reach is left where it is.
    _, lost = match(points, mass, points + 500.0, mass, 4.0, 20.0)
    assert lost.max() < 1e-3


def test_a_shape_turns_without_cost_and_bends_at_few_edges(rng):
    points = rng.uniform(-20, 20, (60, 3))
    shape = RigidShape(points, neighbour_edges(points))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = points @ turn.T + 7.0
    turns = shape.turns(moved)
    np.testing.assert_allclose(turns, np.broadcast_to(turn, turns.shape), atol=1e-8)
    assert np.abs(shape.misfit(moved, turns)).max() < 1e-8
    # Already there: fitting changes nothing.
    kept = shape.fit(moved, moved, np.ones(60), 10.0)
    np.testing.assert_allclose(kept, moved, atol=1e-8)


def test_anchors_cover_the_latents_and_the_open_map_is_the_reference(rng):
    angle = rng.uniform(0, 2 * np.pi, 300)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    chosen = choose_anchors(circle, 12)
    gap = np.linalg.norm(circle[:, None] - circle[chosen][None], axis=-1).min(axis=1)
    assert len(chosen) == 12
    assert gap.max() < 0.6
    hinge = molecule(0.0, [0.0, 1.0, 0.0])
    clouds = [cloud_of_map(one, _VOXEL) for one in maps_of(hinge, [100.0, 0.0])]
    assert most_open(clouds) == 1


def test_a_map_without_density_is_refused():
    with pytest.raises(ValueError, match="without density"):
        cloud_of_map(np.zeros((8, 8, 8), np.float32), 4.0)


def test_one_conformation_has_one_mode_of_nothing(swing):
    *_, found = swing
    still = found._replace(positions=np.repeat(found.rest.points[None], 3, axis=0))
    assert np.isfinite(mode_weights(still, 4)).all()
    np.testing.assert_allclose(carry(found.rest.points, still, found.rest.points), 0, atol=1e-9)
    assert track(found.rest, [found.rest, found.rest], [Step(0, 1)]).positions.shape[0] == 2
