"""What a check found, for people and for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Say one thing that is wrong and how to mend it.

    **Fields:** `check`: short name of what was looked at. `problem` and `mend`: a clause each.
    """

    check: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.check}: {self.problem}; {self.mend}"


@dataclass(frozen=True)
class Fact:
    """Say one thing that was looked at and is as it should be.

    **Fields:** `is_open`: it cannot be decided from these particles.
    """

    check: str
    text: str
    is_open: bool = False

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


@dataclass
class Report:
    """Collect what checks say about a particle set.

    **Fields:** `particles`: the file. `facts`, `findings` in the order of the checks. `numbers`:
    what was measured, by name. `picture`: the file drawn, None where nothing could be. Iterating
    gives the findings.
    """

    particles: str
    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def is_fine(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.findings

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def note(self, check: str, text: str, is_open: bool = False) -> None:
        """Add a fact."""
        self.facts.append(Fact(check, text, is_open))

    def find(self, check: str, problem: str, mend: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(check, problem, mend))

    def to_json(self) -> str:
        """Return the report as JSON: `particles`, `is_fine`, `findings`, `facts`, `numbers`."""
        whole = {"particles": self.particles, "is_fine": self.is_fine}
        whole["findings"] = [asdict(finding) for finding in self.findings]
        whole["facts"] = [asdict(fact) for fact in self.facts]
        whole["numbers"] = self.numbers
        return json.dumps(whole, indent=2)
