"""What was found: each finding has a name, says what is so, and what line to change."""

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `change` is empty when all is well."""

    level: Level
    code: str
    at: str
    message: str
    change: str = ""


@dataclass(slots=True)
class Report:
    """The findings of one walk, in its order."""

    url: str
    kind: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """Whether some client fails."""
        return any(finding.level == "broken" for finding in self.findings)

    def ok(self, code: str, at: str, message: str) -> None:
        """Note that something is right."""
        self.findings.append(Finding("ok", code, at, message))

    def warn(self, code: str, at: str, message: str, change: str) -> None:
        """Note what some clients stumble over."""
        self.findings.append(Finding("warning", code, at, message, change))

    def fail(self, code: str, at: str, message: str, change: str) -> None:
        """Note what keeps clients out."""
        self.findings.append(Finding("broken", code, at, message, change))
