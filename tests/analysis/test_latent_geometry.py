"""Components, clusters and straight paths against closed forms."""

import numpy as np
import pytest

from vitreous.analysis.clusters import cluster
from vitreous.analysis.paths import component_path, direct_path, nearest_points
from vitreous.analysis.principal import fit_components
from vitreous.errors import InputError

RNG = np.random.default_rng(0)


def cloud(n=500):
    """A centred ellipsoid with known axes, lengths 3, 1 and 0.2, moved to (5, 0, −2)."""
    frame = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    white = RNG.standard_normal((n, 3))
    white -= white.mean(axis=0)
    white = np.linalg.qr(white)[0] * np.sqrt(n - 1)  # unit covariance, exactly
    return (white * [3, 1, 0.2]) @ frame.T + [5, 0, -2], frame


def test_components_carry_the_latent_s_units():
    z, frame = cloud()
    found = fit_components(z)
    np.testing.assert_allclose(found.variance, [9, 1, 0.04], rtol=1e-9)
    np.testing.assert_allclose(found.explained.sum(), 1)
    np.testing.assert_allclose(np.abs(np.sum(found.axes * frame.T, axis=1)), 1)
    scores = found.transform(z)
    np.testing.assert_allclose(scores.std(axis=0, ddof=1), [3, 1, 0.2], rtol=1e-5)
    np.testing.assert_allclose(found.inverse(scores), z, atol=1e-5)


def test_the_sign_of_a_component_does_not_depend_on_the_sign_of_the_cloud():
    z, _ = cloud()
    for axes in (fit_components(z).axes, fit_components(-z).axes, fit_components(z[::-1]).axes):
        assert np.all(axes[np.arange(3), np.argmax(np.abs(axes), axis=1)] > 0)
    np.testing.assert_allclose(fit_components(z).axes, fit_components(-z).axes, atol=1e-9)


def test_component_path_keeps_the_others_at_the_mean():
    z, _ = cloud()
    found = fit_components(z)
    path = component_path(z, 2, count=7)
    scores = found.transform(path)
    np.testing.assert_allclose(scores[:, [0, 2]], 0, atol=1e-5)
    ends = np.percentile(found.transform(z)[:, 1], [5, 95])
    np.testing.assert_allclose(scores[:, 1], np.linspace(*ends, 7), atol=1e-5)
    by_percentile = found.transform(component_path(z, 1, 5, (10.0, 90.0), by_percentile=True))[:, 0]
    expected = np.percentile(found.transform(z)[:, 0], [10, 30, 50, 70, 90])
    np.testing.assert_allclose(by_percentile, expected, atol=1e-5)


def test_a_component_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="components 1 to 3"):
        component_path(cloud()[0], 4)
    with pytest.raises(InputError, match="percentiles"):
        component_path(cloud()[0], 1, limits=(60.0, 40.0))


def test_direct_path_joins_anchors_once():
    anchors = np.array([[0.0, 0], [1, 0], [1, 2]], np.float32)
    path = direct_path(anchors, 3)
    np.testing.assert_allclose(path, [[0, 0], [0.5, 0], [1, 0], [1, 1], [1, 2]])
    loop = direct_path(anchors, 3, is_loop=True)
    np.testing.assert_allclose(loop[5:], [[0.5, 1], [0, 0]])
    np.testing.assert_array_equal(nearest_points(path, anchors), [0, 0, 1, 1, 2])
    with pytest.raises(InputError, match="two anchors"):
        direct_path(anchors[:1])


def test_centres_are_particles_of_their_own_cluster():
    z = RNG.standard_normal((300, 4)).astype(np.float32)
    found = cluster(z, 12)
    assert len(found) == 12
    np.testing.assert_array_equal(z[found.centre_index], found.centres)
    np.testing.assert_array_equal(found.labels[found.centre_index], np.arange(12))
    assert found.sizes.sum() == 300
    assert found.sizes.min() > 0
    again = cluster(z, 12)
    np.testing.assert_array_equal(found.labels, again.labels)


def test_cluster_numbers_follow_the_shape_of_the_space():
    # Eight groups along a line, in no order: their numbers must run along it.
    place = RNG.permutation(np.repeat(np.arange(8.0), 20))
    z = np.stack([3 * place, 0.1 * RNG.standard_normal(160)], axis=1).astype(np.float32)
    found = cluster(z, 8)
    np.testing.assert_allclose(found.centres[:, 0], 3 * np.arange(8))
    np.testing.assert_array_equal(found.labels, place.astype(int))


def test_no_more_clusters_than_distinct_points():
    z = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    assert len(cluster(z, 20)) == 3
    assert len(cluster(z[:, :1], 1)) == 1
