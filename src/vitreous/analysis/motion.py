"""What a report tells of a run whose fit moved Gaussians: how far, and how surely.

From `agreement.npz`, which other runs do not have.
"""

import numpy as np

from vitreous.analysis.variables import Variable
from vitreous.training.run import Run

_FILE = "agreement.npz"


def motion_facts(run: Run) -> list[tuple[str, str]]:
    """Say in words how far the molecule moves and by how much the half sets agree on it."""
    found = _agreement(run)
    if found is None:
        return []
    return [
        ("motion", f"{float(found['motion']):.2f} Å (root mean square)"),
        (
            "half sets agree on it",
            f"by {float(found['correlation']):.3f} (correlation), to {float(found['error']):.2f} Å",
        ),
    ]


def motion_variables(run: Run, count: int) -> list[Variable]:
    """Return each particle's motion and the half sets' disagreement on it, Å."""
    found = _agreement(run)
    if found is None or len(found["particle_motion"]) != count:
        return []
    return [
        Variable("motion (Å)", found["particle_motion"]),
        Variable("half-set disagreement (Å)", found["particle_error"]),
    ]


def _agreement(run: Run) -> dict[str, np.ndarray] | None:
    file = run.path / _FILE
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
