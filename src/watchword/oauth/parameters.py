"""RFC 6749 §3.2: the decoded parameters of a request, as the rules of this package read them."""

from typing import Protocol


class Parameters(Protocol):
    """Parameters by name; an empty value counts as absent (§3.2)."""

    def get(self, name: str) -> str | None:
        """Return a parameter's value, or None."""

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a repeatable parameter."""

    def require(self, name: str) -> str:
        """Return a parameter's value; raise `invalid_request` when it is absent."""
