"""A cloud of points that bends where it must and stays rigid elsewhere.

Every point turns with its neighbours; an edge costs what it is longer, shorter or more askew than
at rest after that turn. A few edges that cannot be kept (a hinge, two parts that only touched) are
let go: their cost levels off.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree


def neighbour_edges(
    points: Float[np.ndarray, "g 3"], neighbours: int = 12
) -> Int[np.ndarray, "e 2"]:
    """Join each point to those nearest to it; every pair is listed once, the smaller index first.

    Parts that would stay apart are joined where they are nearest.
    """
    count = min(neighbours + 1, len(points))
    near = KDTree(points).query(points, k=count)[1].reshape(len(points), -1)[:, 1:]
    pairs = np.stack([np.repeat(np.arange(len(points)), near.shape[1]), near.ravel()], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


class RigidShape:
    """Hold a shape at rest.

    **Arguments:** `points` at rest (Å). `edges`. `strength` of each edge, 1 if None. `give` (Å):
    misfit at which an edge begins to be let go.
    """

    def __init__(
        self,
        points: Float[np.ndarray, "g 3"],
        edges: Int[np.ndarray, "e 2"],
        strength: Float[np.ndarray, " e"] | None = None,
        give: float = 3.0,
    ) -> None:
        self.points = np.asarray(points, np.float64)
        self.first, self.second = np.asarray(edges).T
        self.strength = np.ones(len(edges)) if strength is None else np.asarray(strength)
        self.give = give
        self.rest = self.points[self.first] - self.points[self.second]

    def turns(
        self, moved: Float[np.ndarray, "g 3"], weight: Float[np.ndarray, " e"] | None = None
    ) -> Float[np.ndarray, "g 3 3"]:
        """Find the rotation of each point's neighbourhood, rest to moved."""
        weight = self.strength if weight is None else weight
        now = moved[self.first] - moved[self.second]
        outer = (weight[:, None] * now)[:, :, None] * self.rest[:, None, :]
        count = len(self.points)
        sums = np.stack(
            [
                np.bincount(self.first, o, count) + np.bincount(self.second, o, count)
                for o in outer.reshape(-1, 9).T
            ],
            axis=1,
        ).reshape(-1, 3, 3)
        u, _, vt = np.linalg.svd(sums)
        u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
        return u @ vt

    def misfit(
        self, moved: Float[np.ndarray, "g 3"], turns: Float[np.ndarray, "g 3 3"]
    ) -> Float[np.ndarray, "e 3"]:
        """Return how far each edge is from its turned rest, Å."""
        return moved[self.first] - moved[self.second] - self._turned(turns)

    def let_go(self, misfit: Float[np.ndarray, "e 3"]) -> Float[np.ndarray, " e"]:
        """Weigh edges by how well they are kept (Geman and McClure's weights)."""
        square = np.sum(misfit**2, axis=1) / self.give**2
        return self.strength / (1 + square) ** 2

    def fit(
        self,
        moved: Float[np.ndarray, "g 3"],
        targets: Float[np.ndarray, "g 3"],
        pull: Float[np.ndarray, " g"],
        stiffness: float,
        rounds: int = 3,
    ) -> Float[np.ndarray, "g 3"]:
        """Move towards targets as a shape: `Σ pull |x − y|² + stiffness Σ_e w_e |misfit_e|²`.

        **Arguments:** `moved`: where the points are now. `pull` of each target.

        **Source:** Sorkine & Alexa (2007), as-rigid-as-possible; local and global steps in turn.
        """
        count = len(moved)
        weight = self.let_go(self.misfit(moved, self.turns(moved)))
        edge = np.arange(len(weight))
        ends = np.concatenate([self.first, self.second])
        sign = np.concatenate([np.ones(len(edge)), -np.ones(len(edge))])
        step = coo_matrix((sign, (np.tile(edge, 2), ends)), (len(edge), count)).tocsr()
        spring = step.T @ diags(stiffness * weight)
        solve = splu((diags(pull) + spring @ step).tocsc()).solve
        for _ in range(rounds):
            turned = self._turned(self.turns(moved, weight))
            moved = solve(pull[:, None] * targets + spring @ turned)
        return moved

    def _turned(self, turns: Float[np.ndarray, "g 3 3"]) -> Float[np.ndarray, "e 3"]:
        both = 0.5 * (turns[self.first] + turns[self.second])
        return np.einsum("eij,ej->ei", both, self.rest)
