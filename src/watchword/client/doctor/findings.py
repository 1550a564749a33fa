"""What was found: each finding has a code, says what is the case, and what to change."""

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
        self._note("ok", code, at, message)

    def warn(self, code: str, at: str, message: str, change: str) -> None:
        """Note what some clients stumble over."""
        self._note("warning", code, at, message, change)

    def fail(self, code: str, at: str, message: str, change: str = "") -> None:
        """Note what keeps clients out; without `change` the message says it."""
        self._note("broken", code, at, message, change)

    def _note(self, level: Level, code: str, at: str, message: str, change: str = "") -> None:
        self.findings.append(Finding(level, code, _shown(at), _shown(message), _shown(change)))


def check_type(media_type: str, address: str, report: Report, *others: str) -> None:
    """Check the media type of a document (RFC 8414 §3.2, RFC 9728 §3.2): the MCP SDK for Go and openid-client refuse any other."""
    if media_type not in ("application/json", *others):
        report.fail(
            "content-type",
            address,
            f"it is JSON but is served as {media_type!r}: strict clients refuse it unread",
            "answer it with Content-Type: application/json; for a file, in nginx: default_type application/json;",
        )


def _shown(text: str) -> str:
    """Escape control characters of the terminal: parts of the text come from the servers that are examined."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
