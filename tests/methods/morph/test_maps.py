"""Lattices, thresholds, sharpness and symmetry of maps; predictions that keep values or mass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from two_domains import above, density, two_domains

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.maps import Map
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.lattice import (
    bin_map,
    centre_of_box,
    cover,
    place_together,
    resample_like,
    to_cube,
)
from vitreous.methods.morph.levels import build_levels
from vitreous.methods.morph.models import carry_model, read_model
from vitreous.methods.morph.predict import measure_motion, pull_frames, push_frames
from vitreous.methods.morph.prepare import prepare_morph
from vitreous.methods.morph.scores import correlation
from vitreous.methods.morph.sharpness import blur, relative_blur
from vitreous.methods.morph.symmetry import agreement, check_symmetry
from vitreous.methods.morph.thresholds import automatic_level, cut, level_enclosing
from vitreous.methods.morph.velocity import MLPVelocity
from vitreous.methods.morph.weights import Flow


@pytest.fixture(scope="module")
def molecule() -> np.ndarray:
    return density(two_domains()[0])


def uniform_flow(shift: tuple[float, float, float]) -> Flow:
    """Every point moves by one shift (x, y, z) in Å."""
    bias = jnp.asarray(shift[::-1], jnp.float32)
    return Flow(MLPVelocity((jnp.zeros((3, 3)),), (bias,), (0.0, 0.0, 0.0), 1.0))


def shrinking_flow(rate: float, centre: tuple[float, float, float]) -> Flow:
    return Flow(MLPVelocity((rate * jnp.eye(3),), (jnp.zeros(3),), centre, 1.0), steps=8)


def test_maps_without_origins_share_their_centres_and_others_keep_theirs():
    first = Map(np.ones((8, 8, 8), np.float32), 2.0)
    small = Map(np.ones((5, 6, 7), np.float32), 1.5)
    placed = place_together([first, small])
    np.testing.assert_allclose(centre_of_box(placed[0]), centre_of_box(placed[1]))
    moved = Map(small.data, 1.5, (1.0, 0.0, 0.0))
    assert place_together([first, moved])[1].origin == (1.0, 0.0, 0.0)


def test_resampling_reads_the_same_density_at_other_voxels(molecule):
    atoms = two_domains()[0]
    fine = Map(density(atoms, 64), 0.5, (-0.25, -0.25, -0.25))
    # Voxel n // 2 of both boxes is the same place.
    fine = Map(fine.data, 0.5, (0.0, 0.0, 0.0))
    coarse = resample_like(fine, Map(molecule, 1.0))
    assert correlation(coarse.data, molecule) > 0.995
    outside = resample_like(fine, Map(molecule, 1.0, (500.0, 0.0, 0.0)))
    assert not outside.data.any()


def test_covering_keeps_voxels_in_place(molecule):
    whole = cut(Map(molecule, 2.0, (3.0, 5.0, 7.0)), 0.3 * float(molecule.max()), "a")
    other = Map(whole.data, 2.0, (23.0, 5.0, 7.0))
    lattice = cover(whole, [other], 4.0)
    assert lattice.data.sum() == pytest.approx(whole.data.sum(), rel=1e-5)
    there = np.argmax(lattice.data)
    place = np.array(np.unravel_index(there, lattice.data.shape))[::-1] * 2 + lattice.origin
    here = np.array(np.unravel_index(np.argmax(whole.data), whole.data.shape))[::-1] * 2
    np.testing.assert_allclose(place, here + np.array(whole.origin), atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 6, 6), (5, 7, 8)])
def test_binning_keeps_mass_and_centre_of_mass(shape):
    data = np.zeros(shape, np.float32)
    data[2, 4, 3] = 8
    binned = bin_map(Map(data, 1.5, (1.0, 2.0, 3.0)), 2)
    assert binned.data.sum() * 8 == pytest.approx(8)
    place = np.argwhere(binned.data > 0)[0][::-1] * 3.0 + binned.origin
    np.testing.assert_allclose(place, np.array([3, 4, 2]) * 1.5 + [1.75 - 1.5, 2.75, 3.75],
                               atol=1.6)  # fmt: skip
    assert to_cube(data).shape == (max(shape) + max(shape) % 2,) * 3


def test_the_level_lies_above_noise_and_below_the_molecule(molecule):
    rng = np.random.default_rng(0)
    top = float(molecule.max())
    assert 0.1 * top < automatic_level(molecule) < 0.16 * top
    noisy = (molecule + rng.normal(0, 0.1 * top, molecule.shape)).astype(np.float32)
    assert 0.35 * top < automatic_level(noisy) < 0.6 * top
    level = level_enclosing(molecule, 500.0)
    assert np.count_nonzero(molecule >= level) == 500


def test_the_relative_blur_is_the_gaussian_that_was_laid_on():
    before, after, _ = two_domains()
    sharp = Map(density(before, 48), 1.0)
    other = Map(density(after, 48), 1.0)
    blurred = blur(other, 2.0)
    assert relative_blur(sharp, blurred) == pytest.approx(2.0, rel=0.25)
    assert relative_blur(sharp, other) == 0.0
    assert relative_blur(blurred, sharp) == 0.0


def test_symmetry_is_seen_and_its_absence_refused(molecule):
    group = point_group("C4")
    middle = np.array([16.0, 16.0, 16.0])
    turned = sum(np.rot90(molecule[1:, 1:, 1:], k, (1, 2)) for k in range(4))
    four = np.pad(turned, ((1, 0), (1, 0), (1, 0)))
    assert agreement(four, group, middle) > 0.95
    check_symmetry("a.mrc", "C4", four, group, middle)
    with pytest.raises(InputError, match=r"a\.mrc: does not have the symmetry C4"):
        check_symmetry("a.mrc", "C4", np.roll(molecule, 5, 2), group, middle)
    with pytest.raises(InputError, match="not a point group"):
        point_group("K9")


def test_a_target_without_the_symmetry_is_named():
    before, after, _ = two_domains()
    one = before + np.array([5.5, 0, 0])
    pair = np.concatenate([one, one * (-1, -1, 1)])
    maps = [Map(density(x), 1.0) for x in (pair, after)]
    with pytest.raises(InputError, match=r"b\.mrc: does not have the symmetry C2"):
        prepare_morph(maps[0], maps[1:], MorphConfig(symmetry="C2"), names=["a.mrc", "b.mrc"])


def test_levels_go_from_coarse_to_fine_with_unit_mass(molecule):
    fine = Map(above(density(two_domains()[0], 64)), 1.0)
    levels = build_levels(fine, [fine], MorphConfig(iterations=100), 64.0)
    assert [level.voxel for level in levels] == [2.0, 1.0]
    assert sum(level.steps for level in levels) == 100
    for level in levels:
        assert level.mass.sum() == pytest.approx(1, rel=1e-5)
        assert level.targets.sum() == pytest.approx(1, rel=1e-5)
    assert levels[0].epsilon[0] > levels[0].epsilon[1] > levels[1].epsilon[1]


def test_push_and_pull_agree_where_volume_is_kept(molecule):
    a_map = Map(molecule, 1.0, (5.0, 6.0, 7.0))
    support = cut(a_map, 0.02 * float(molecule.max()), "a")
    flow = uniform_flow((2.0, -1.0, 3.0))
    expected = np.roll(molecule, (3, -1, 2), (0, 1, 2))
    pushed = push_frames(flow, support, [0.0, 1.0])
    pulled = pull_frames(flow, a_map, support, [1.0])[0]
    np.testing.assert_array_equal(pushed[0], support.data)
    assert correlation(pushed[1], expected) > 0.999
    np.testing.assert_allclose(pulled, expected, atol=2e-3 * molecule.max())


def test_pushing_keeps_mass_and_pulling_keeps_values(molecule):
    a_map = Map(molecule, 1.0)
    support = cut(a_map, 0.05 * float(molecule.max()), "a")
    flow = shrinking_flow(-0.3, (16.0, 16.0, 16.0))
    pushed = push_frames(flow, support, [1.0])[0]
    pulled = pull_frames(flow, a_map, support, [1.0])[0]
    assert pushed.sum() == pytest.approx(support.data.sum(), rel=1e-4)
    assert pulled.max() == pytest.approx(molecule.max(), rel=0.1)
    motion = measure_motion(flow, support)
    facts = motion.facts()
    assert facts["volume_median"] == pytest.approx(np.exp(-0.9), rel=1e-3)
    assert motion.volume[support.data <= 0].tolist()[0] == 1
    index = np.argwhere(support.data > 0)[0]
    expected = (index[::-1] - 16) * (np.exp(-0.3) - 1)
    np.testing.assert_allclose(motion.displacement[(slice(None), *index)], expected, atol=1e-3)


def test_mass_that_leaves_the_box_is_lost_not_piled_up(molecule):
    support = cut(Map(molecule, 1.0), 0.1, "a")
    frame = push_frames(uniform_flow((100.0, 0.0, 0.0)), support, [1.0])[0]
    assert float(np.abs(frame).max()) == 0


def test_atoms_ride_along(shared_data):
    structure = read_model(shared_data / "structures" / "1uao.pdb")
    start = structure[0][0][0][0].pos.tolist()
    moved = list(carry_model(structure, uniform_flow((1.0, 2.0, 3.0)), [0.0, 0.5, 1.0]))
    assert len(moved) == 3
    end = moved[-1][0][0][0][0].pos.tolist()
    np.testing.assert_allclose(np.subtract(end, start), (1, 2, 3), atol=1e-4)
    assert structure[0][0][0][0].pos.tolist() == start


def test_maps_that_lie_apart_are_refused(molecule):
    far = Map(molecule, 1.0, (200.0, 0.0, 0.0))
    with pytest.raises(InputError, match="do not overlap"):
        prepare_morph(Map(molecule, 1.0), [far], MorphConfig(), names=["a.mrc", "b.mrc"])
    with pytest.raises(InputError, match="nothing reaches the threshold"):
        prepare_morph(Map(molecule, 1.0), [Map(molecule, 1.0)], MorphConfig(), 1e9)


def test_different_boxes_and_voxels_meet_on_one_lattice():
    before, after, _ = two_domains()
    source = Map(density(before), 1.0)
    target = Map(density(after, 64)[5:, :, 3:60], 0.5, (1.5, 0.0, 2.5))
    problem = prepare_morph(source, [target], MorphConfig())
    same = prepare_morph(source, [Map(density(after), 1.0)], MorphConfig())
    here, there = problem.targets[0], same.targets[0]
    np.testing.assert_allclose(
        scipy.ndimage.center_of_mass(here.data) + np.array(here.origin)[::-1],
        scipy.ndimage.center_of_mass(there.data) + np.array(there.origin)[::-1],
        atol=0.15,
    )


def test_the_same_seed_gives_the_same_start():
    from vitreous.methods.morph.fit import start_velocity

    before, after, _ = two_domains()
    problem = prepare_morph(Map(density(before), 1.0), [Map(density(after), 1.0)], MorphConfig())
    one, two = (start_velocity(problem, MorphConfig(seed=3)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, two)
