"""How a set is cut into stack files, and which of them each of several programs writes."""

import re
from dataclasses import dataclass

from vitreous.errors import InputError

_PART = re.compile(r"(particles(_\d{4,})?\.mrcs|\.particles(_\d{4,})?\.mrcs\.partial)")


@dataclass(frozen=True)
class Part:
    """Name a stack file and the particles in it: `count` from number `first` on."""

    name: str
    first: int
    count: int

    @property
    def stop(self) -> int:
        """The number after its last particle."""
        return self.first + self.count


@dataclass(frozen=True)
class Shard:
    """Say which of how many programs this is, counted from 1."""

    number: int = 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2/8`. **Raises:** `InputError` for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard {text}: is K/N with K from 1 to N, such as 2/8")
        return cls(int(match[1]), int(match[2]))


def cut_into_parts(count: int, images_per_file: int | None = None, shards: int = 1) -> list[Part]:
    """Cut a set into stack files.

    **Arguments:** `images_per_file`: None for one file a shard.
    """
    if images_per_file is None:
        images_per_file = -(-count // shards)
    starts = range(0, count, images_per_file)
    if len(starts) == 1:
        return [Part("particles.mrcs", 0, count)]
    return [
        Part(f"particles_{number:04d}.mrcs", first, min(images_per_file, count - first))
        for number, first in enumerate(starts, 1)
    ]


def parts_of_shard(parts: list[Part], shard: Shard) -> list[Part]:
    """Return the neighbouring parts that fall to one of the shards, all alike to within one."""
    first, stop = (len(parts) * k // shard.total for k in (shard.number - 1, shard.number))
    return parts[first:stop]


def is_part(name: str) -> bool:
    """Say whether a file of this name is a part of a set, whole or unfinished."""
    return _PART.fullmatch(name) is not None
