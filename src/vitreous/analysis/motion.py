"""What a report tells of a run whose fit moved Gaussians: how far, and how surely.

From `agreement.npz`, which other runs do not have.
"""

from vitreous.analysis.motion_columns import read_agreement
from vitreous.analysis.variables import Variable
from vitreous.training.run import Run


def motion_facts(run: Run) -> list[tuple[str, str]]:
    """Say in words how far the molecule moves and by how much the half sets agree on it."""
    found = read_agreement(run)
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
    found = read_agreement(run)
    if found is None or len(found["particle_motion"]) != count:
        return []
    return [
        Variable("motion (Å)", found["particle_motion"]),
        Variable("half-set disagreement (Å)", found["particle_error"]),
    ]
