"""Why a fetch failed, in a few words that name no content."""

# How reasons begin that say nothing about what the server would have answered.
_OUTAGES = (
    "timed out",
    "no connection",
    "no answer",
    "host not found",
    "too many",
    "answered 5",
    "answered 429",
)


class FetchError(Exception):
    """The address was refused or did not answer properly; `reason` is short and names no content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def is_outage(self) -> bool:
        """Whether the server is merely unreachable or overloaded, so that its last answer may still be used."""
        return self.reason.startswith(_OUTAGES)
