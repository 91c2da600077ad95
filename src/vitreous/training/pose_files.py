"""The files in which a run leaves the poses that it found or refined."""

from vitreous.particles import ParticleTable
from vitreous.particles.peer_pickles import save_pose_pickle
from vitreous.training.run import Run


def save_poses(run: Run, table: ParticleTable, pickle: str = "pose.pkl") -> None:
    """Write poses for every later command, and for other programs.

    `poses.npz` makes `Run.table` give them; `particles.star` is the table with all its other
    columns; the pickle has shifts in fractions of the box, as cryoDRGN reads them.

    **Arguments:** `table`: with the new rotations and shifts. `pickle`: its name in the run.
    """
    if table.rotation is None:
        raise ValueError("a table without poses has none to save")
    run.save_poses(table.rotation, table.shift)
    table.to_star(run.path / "particles.star")
    side = table.box * table.pixel_size
    save_pose_pickle(run.path / pickle, table.rotation, table.shift, side)
