"""Rigid bodies: their field, the masks they come from, and rigid fits to deformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.rotations import rotation_vector_to_matrix
from vitreous.maps import write_map
from vitreous.methods.flexible.bodies.finding import find_bodies, masks_of_bodies
from vitreous.methods.flexible.bodies.masks import body_shares, read_body_masks
from vitreous.methods.flexible.bodies.rigid_bodies import make_bodies, plan_bodies
from vitreous.methods.flexible.bodies.transforms import Body, body_pose

_BOX, _VOXEL = 24, 4.0


def ball(centre, radius, box=_BOX):
    """A mask; centre in voxels from the box centre, x y z."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def two():
    masks = np.stack([ball((-5, 0, 0), 4.4), ball((4, 1, 0), 4.4)])
    masks[1] &= ~masks[0]
    return masks


def test_bodies_turn_about_their_own_centres(two):
    plan = plan_bodies(two, _VOXEL)
    np.testing.assert_allclose(plan.centres[0], [-20, 0, 0], atol=0.5)
    field = make_bodies(plan, 3, 5.0, jax.random.key(1))
    points = jnp.asarray([[-20.0, 0, 0], [-26, 3, 2], [16, 4, 0], [20, 0, 8], [40, 40, 40]])
    z = jnp.asarray([[0.0, 0, 0], [1.0, -0.5, 2.0]])
    moved = np.asarray(field(points, z))
    assert not moved[0].any()
    # Far from both bodies nothing moves.
    assert not moved[:, 4].any()
    vector, move = field.motions(z)
    for k, rows in enumerate(([0, 1], [2, 3])):
        turn = np.asarray(rotation_vector_to_matrix(vector[1, k]), np.float64)
        arm = np.asarray(points)[rows] - plan.centres[k]
        there = arm @ turn.T + plan.centres[k] + np.asarray(move[1, k])
        # Well inside a body, the other one has next to no share.
        np.testing.assert_allclose(moved[1, rows], there - np.asarray(points)[rows], atol=0.02)
    slope = jax.grad(lambda v: jnp.sum(field(points, v) ** 2))(z)
    assert np.isfinite(np.asarray(slope)).all()
    fixed = jax.grad(lambda f: jnp.sum(f(points, z) ** 2), allow_int=True)(field)
    assert not np.asarray(fixed.shares).any()
    assert not np.asarray(fixed.centres).any()


def test_shares_add_up_and_change_slowly_at_seams(two):
    shares = body_shares(two, _VOXEL, seam=8.0)
    total = shares.sum(axis=0)
    np.testing.assert_allclose(total[two.any(axis=0)], 1, atol=1e-5)
    assert total.max() <= 1 + 1e-5
    assert total[0, 0, 0] == 0
    # Along the line from centre to centre no voxel takes a body's share in one jump.
    line = shares[0, _BOX // 2, _BOX // 2, 8:16]
    assert np.abs(np.diff(line)).max() < 0.75
    assert line[0] > 0.99
    assert line[-1] < 0.01


def test_rigid_motions_are_found_exactly(rng):
    points = rng.normal(0, 20, (30, 3))
    body = Body.of(points, rng.uniform(0.5, 1, 30))
    vector = rng.normal(0, 45.0, (5, 3))
    turn = np.asarray(rotation_vector_to_matrix(vector))
    shift = rng.normal(0, 10, (5, 3))
    fields = np.einsum("bij,gj->bgi", turn, points) + shift[:, None] - points[None]
    found = body.fit(body.moments(fields))
    np.testing.assert_allclose(found.rotation, turn, atol=1e-5)
    np.testing.assert_allclose(found.shift, shift, atol=1e-5)
    assert body.misfit(fields, found).max() < 1e-5
    # Moments are linear: two modes and weights give what their mixture gives.
    weights = rng.normal(size=(4, 5))
    mixed = np.einsum("bf,fgx->bgx", weights, fields)
    one, other = body.moments(fields).mixed(weights), body.moments(mixed)
    np.testing.assert_allclose(one.cross, other.cross, atol=1e-8)
    # No mirror image is ever taken for a turn.
    mirrored = points * [1, 1, -1] - points
    assert np.linalg.det(body.fit(body.moments(mirrored[None])).rotation)[0] > 0.99


def test_body_poses_show_the_body_at_rest(rng):
    points = rng.normal(0, 20, (30, 3))
    body = Body.of(points, np.ones(30))
    turn = np.asarray(rotation_vector_to_matrix(rng.normal(0, 30.0, (3, 3))))
    step = rng.normal(0, 5, (3, 3))
    moved = np.einsum("bij,gj->bgi", turn, points) + step[:, None]
    rotation = np.asarray(rotation_vector_to_matrix(rng.normal(0, 60.0, (3, 3))))
    shift = rng.normal(0, 3, (3, 2))
    seen = np.einsum("bij,bgj->bgi", rotation, moved)[..., :2] + shift[:, None]
    found = body.fit(body.moments(moved - points[None]))
    new_rotation, new_shift = body_pose(rotation, shift, found)
    again = np.einsum("bij,gj->bgi", new_rotation, points)[..., :2] + new_shift[:, None]
    np.testing.assert_allclose(again, seen, atol=1e-5)


def test_bodies_are_found_by_how_they_move(rng):
    points = rng.uniform(-30, 30, (200, 3))
    label = (points[:, 0] > 5).astype(int)
    turn = np.asarray(rotation_vector_to_matrix(rng.normal(0, 15.0, (20, 3))))
    hinge = np.array([5.0, 0, 0])
    moved = np.einsum("bij,gj->bgi", turn, points - hinge[None]) + hinge
    fields = np.where(label[None, :, None] == 1, moved - points[None], 0.0)
    fields += rng.normal(0, 0.3, fields.shape)
    found = find_bodies(points, fields, 2)
    same = np.mean(found.label == label)
    assert max(same, 1 - same) > 0.97
    np.testing.assert_allclose(found.share.sum(axis=1), 1, atol=1e-9)
    masks = masks_of_bodies(points, found.label, 2, _BOX, _VOXEL, 10.0)
    assert masks.any(axis=(1, 2, 3)).all()
    assert not masks.all(axis=0).any()
    # Every Gaussian lies in its own body's mask.
    index = tuple((np.rint(points / _VOXEL).astype(int) + _BOX // 2)[:, ::-1].T)
    assert np.mean(masks[found.label, index[0], index[1], index[2]]) > 0.95


def test_masks_are_read_as_disjoint_bodies(tmp_path, two):
    touching = two.copy()
    touching[1] |= two[0] & ball((0, 1, 0), 1.2)
    for number, mask in enumerate(touching):
        write_map(tmp_path / f"b_mask{number}.mrc", mask.astype(np.float32), _VOXEL)
    write_map(tmp_path / "smooth_mask_body1.mrc", two[0].astype(np.float32), _VOXEL)
    found = read_body_masks(tmp_path, _BOX, _VOXEL, density=two.any(axis=0).astype(np.float32))
    assert found.shape[0] == 2
    np.testing.assert_array_equal(found[0], touching[0])
    assert not found.all(axis=0).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("none", "holds no mask"),
        ("folder", "no such folder"),
        ("empty", "no voxel is above 0.5"),
        ("overlap", "must not overlap"),
        ("box", "resample the mask"),
        ("voxel", "resample the mask"),
        ("misses", "misses the map"),
    ],
)
def test_bad_masks_are_named(tmp_path, two, change, message):
    folder = tmp_path / "masks"
    folder.mkdir()
    second = {"empty": 0 * two[0], "overlap": two[0]}.get(change, two[1]).astype(np.float32)
    if change == "misses":
        second = ball((0, 0, 10), 1.0).astype(np.float32)
    if change != "none":
        write_map(folder / "mask1.mrc", two[0].astype(np.float32), _VOXEL)
        side = second[:-2, :-2, :-2] if change == "box" else second
        write_map(folder / "mask2.mrc", side, 5.0 if change == "voxel" else _VOXEL)
    where = tmp_path / "gone" if change == "folder" else folder
    with pytest.raises(InputError, match=message):
        read_body_masks(where, _BOX, _VOXEL, two.any(axis=0).astype(np.float32))
