"""Where a fit stands in its stream of batches."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitreous.errors import InputError


@dataclass(frozen=True)
class Position:
    """Say after which step a state was taken, and of which stream.

    Fields: `epoch`: epochs completed. `step`: steps done, of `steps`, in the epoch under way.
    `seed`, `batch_size`, `images`: what fixes the order of the batches.
    """

    epoch: int
    step: int
    steps: int
    seed: int
    batch_size: int
    images: int

    @property
    def number(self) -> int:
        """Order positions, whatever the batch size: millionths of an epoch."""
        return self.epoch * 1_000_000 + min(self.step * 1_000_000 // self.steps, 999_999)

    def check_continues(self, other: "Position", name: object) -> None:
        """Make sure that the stream of `other` goes on where this position was taken.

        Between epochs another seed or batch size is allowed, another set of images never.

        **Raises:** `InputError` naming the run `name` and what differs.
        """
        if self.images != other.images:
            raise InputError(
                f"{name}: its checkpoint was made from {self.images} images, "
                f"now there are {other.images}"
            )
        for field in ("seed", "batch_size"):
            mine, new = getattr(self, field), getattr(other, field)
            if self.step and mine != new:
                raise InputError(
                    f"{name}: stopped within an epoch with {field} {mine}, cannot go on with {new}"
                )


def replaced(positions: Sequence[Position], keep: int | None) -> list[Position]:
    """Choose the checkpoints that the newest one replaces.

    **Arguments:** `positions`: oldest first. `keep`: how many stay of those after an epoch, None
    for all. Of older ones within an epoch none does.
    """
    if not positions:
        return []
    *older, newest = positions
    finished = [position for position in older if position.step == 0]
    spare = [position for position in older if position.step]
    if keep is not None:
        stay = max(keep - (newest.step == 0), 0)
        spare += finished[: max(len(finished) - stay, 0)]
    return spare
