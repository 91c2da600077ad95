"""Graph paths: the peer's own paths, a chain whose answer is plain, and failure."""

import numpy as np
import pytest

from vitreous.analysis.graph_path import graph_path, neighbour_graph
from vitreous.errors import InputError
from vitreous.particles.peer_pickles import read_latent_pickle

# Paths of cryoDRGN's own test suite: file, max and average neighbours, anchors → rows, cut-off.
GOLDEN = [
    (
        "zvals_het-2_1k.pkl", 30, 10.0, [50, 100],
        [50, 22, 1310, 1047, 1093, 857, 159, 1215, 157, 1006, 672, 100], 0.1022, [0.8441],
    ),
    (
        "zvals_het-2_1k.pkl", 50, 20.0, [50, 100],
        [50, 22, 1310, 1047, 1069, 688, 913, 100], 0.1490, [0.808],
    ),
    (
        "zvals_het-8_4k.pkl", 10, 5.0, [2020, 3030, 4040],
        [2020, 4117, 1402, 3480, 1106, 3030, 3824, 3792, 707, 41, 3210, 2257, 392, 301, 4040],
        0.7912, [2.409, 5.141],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "most", "mean", "anchors", "rows", "cutoff", "lengths"), GOLDEN)
def test_golden_paths_of_the_peer(shared_data, name, most, mean, anchors, rows, cutoff, lengths):
    z, _ = read_latent_pickle(shared_data / "interop" / name)
    graph = neighbour_graph(z, most, mean)
    path = graph_path(graph, np.array(anchors))
    assert path.index.tolist() == rows
    assert graph.cutoff == pytest.approx(cutoff, abs=5.1e-5)
    np.testing.assert_allclose(path.lengths, lengths, atol=6e-4)


def test_a_chain_is_walked_link_by_link():
    z = np.arange(12, dtype=np.float32)[:, None]
    graph = neighbour_graph(z, 3, 2.5)
    path = graph_path(graph, np.array([2, 8, 5]))
    assert path.index.tolist() == [2, 3, 4, 5, 6, 7, 8, 7, 6, 5]
    np.testing.assert_allclose(path.lengths, [6, 3])


def test_the_batch_size_changes_nothing():
    z = np.random.default_rng(0).standard_normal((57, 3)).astype(np.float32)
    one, many = (neighbour_graph(z, 8, 4.0, batch) for batch in (1000, 10))
    assert one.cutoff == many.cutoff
    np.testing.assert_allclose(one.weights.toarray(), many.weights.toarray())


def test_twins_are_linked():
    z = np.array([[0.0], [0.0], [1.0], [2.0]], np.float32)
    path = graph_path(neighbour_graph(z, 4, 4.0), np.array([0, 1]))
    assert path.index.tolist() == [0, 1]
    assert path.lengths[0] < 1e-9


def test_unreachable_and_impossible_anchors_are_errors():
    apart = np.concatenate([np.arange(5.0), np.arange(5.0) + 100])[:, None].astype(np.float32)
    graph = neighbour_graph(apart, 4, 2.5)
    with pytest.raises(InputError, match="no path from 0 to 9"):
        graph_path(graph, np.array([0, 9]))
    with pytest.raises(InputError, match="anchor 10: the latent has rows 0 to 9"):
        graph_path(graph, np.array([0, 10]))
    with pytest.raises(InputError, match="two anchors"):
        graph_path(graph, np.array([3]))
    with pytest.raises(InputError, match="max-neighbors"):
        neighbour_graph(apart, 11, 5.0)
    with pytest.raises(InputError, match="avg-neighbors"):
        neighbour_graph(apart, 4, 5.0)
