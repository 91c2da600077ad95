"""One thing looked at: what was found, whether it is well, and what to do if it is not."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

State = Literal["ok", "note", "mend"]


@dataclass(frozen=True)
class Finding:
    """Say what was found of one thing.

    **Fields:** `name`: the thing. `found`: in words. `state`: `"ok"`; `"note"`, worth knowing but
    nothing fails; `"mend"`, something will fail or be needlessly slow. `advice`: what to do.
    `figures`: the same in numbers, with the unit in their names.
    """

    name: str
    found: str
    state: State = "ok"
    advice: str = ""
    figures: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.state == "mend") and not self.advice:
            raise ValueError(f"{self.name}: say what to do")

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + (f"; {self.advice}" if self.advice else "")


def must_mend(findings: Iterable[Finding]) -> bool:
    """Whether any of them asks for a mend."""
    return any(finding.state == "mend" for finding in findings)


def to_json(findings: Iterable[Finding]) -> str:
    """Write findings as JSON: `{"fine": …, "findings": [...]}`."""
    listed = list(findings)
    found = [asdict(finding) for finding in listed]
    content = {"fine": not must_mend(listed), "findings": found}
    return json.dumps(content, indent=2)
