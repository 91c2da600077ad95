"""Lay maps of many conformations upon each other, each by those that are most like it.

Where domains look alike, a map fits another one that is far from it best with two of them
exchanged, or as its own mirror image. Neighbours along a motion leave no such choice, and one
leads to the next: maps are joined by the strongest of all links, as many as hold them together.
But every link follows the motion a little, and many of them far. So all maps are laid on the first
one as well; of both ways that counts at which more of the molecule rests.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from jaxtyping import Float

from vitreous.geometry.hand import MIRROR
from vitreous.reconstruction.common_frame import moved_share
from vitreous.reconstruction.volume_alignment import Alignment, align_volumes

# Links are found in this box.
_BOX = 24


def linked_places(maps: Float[np.ndarray, "k n n n"]) -> list[Alignment]:
    """Find for every map how it lies on the first, which stays.

    **Arguments:** `maps`: of one molecule, in any frames and of either hand.

    **Returns:** alignments to the first map; those of the other hand are mirrored.
    """
    pairs = list(combinations(range(len(maps)), 2))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ways = pool.map(
            lambda pair: align_volumes(maps[pair[1]], maps[pair[0]], max_box=_BOX), pairs
        )
        links = dict(zip(pairs, ways, strict=True))
    links |= {(j, i): inverse(way) for (i, j), way in links.items()}
    stays = Alignment(np.eye(3), np.zeros(3), False, 1.0)
    direct = [stays, *(links[0, j] for j in range(1, len(maps)))]
    chain = {0: stays}
    while len(chain) < len(maps):
        left = [(i, j) for i in chain for j in range(len(maps)) if j not in chain]
        i, j = max(left, key=lambda link: links[link].correlation)
        chain[j] = after(links[i, j], chain[i])
    ways_to_lay = [[chain[k] for k in range(len(maps))], direct]

    def moved(places: list[Alignment]) -> float:
        return moved_share([way.apply(m) for way, m in zip(places, maps, strict=True)])

    return min(ways_to_lay, key=moved)


def inverse(way: Alignment) -> Alignment:
    """Return the alignment of the fixed map onto the moving one."""
    back = _linear(way).T
    return _alignment(back, -back @ way.shift, way.correlation)


def after(first: Alignment, second: Alignment) -> Alignment:
    """Return the alignment that does one after the other; its correlation is the first's."""
    linear = _linear(second)
    return _alignment(
        linear @ _linear(first), linear @ first.shift + second.shift, first.correlation
    )


def _linear(way: Alignment) -> Float[np.ndarray, "3 3"]:
    return way.rotation @ MIRROR if way.is_mirrored else way.rotation


def _alignment(linear: np.ndarray, shift: np.ndarray, correlation: float) -> Alignment:
    is_mirrored = bool(np.linalg.det(linear) < 0)
    return Alignment(linear @ MIRROR if is_mirrored else linear, shift, is_mirrored, correlation)
