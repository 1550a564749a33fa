"""What verifying a token yields, whoever does it: a `Known` token, or the reason why it is refused; and the `Rules` that a guard verifies by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from watchword.guard.misuse import check_choice, check_flag, check_seconds
from watchword.guard.principal import Misbound, Principal, from_claims

WhenSilent = Literal["introspect", "refuse"]

NOT_VALID = "The access token is not valid."
ELSEWHERE = "The token is meant for another API."
INACTIVE = "the issuer says that it is not active"


class Invalid(Exception):
    """The token is not acceptable; its text may be sent to the caller, `reason` is for the API's log."""

    def __init__(self, description: str = NOT_VALID, reason: str = "") -> None:
        super().__init__(description)
        self.reason = reason or description


class Doubtful(Invalid):
    """The signature is not by the keys at hand, in whose place the issuer may have put others."""


class TooOften(Invalid):
    """The token is valid, but has used up its rate limit; it may be used again after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__("This token is used too often.")
        self.seconds = seconds


@dataclass(slots=True)
class Known:
    """A token that was verified; good until `until` (Unix seconds) unless it is revoked before, or the clock set back to before `since`.

    `changes` is the last change of the feed that it was checked against; `asked` is True for an introspection answer, which stands
    without a feed; `answer` is that of a server in this process; `limited` tokens are good for one request.
    """

    principal: Principal
    since: float
    until: float
    marks: tuple[bytes, ...] = ()
    changes: int = -1
    asked: bool = False
    answer: Mapping[str, object] | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a guard verifies, whatever the issuer; the values are those of `Guard`."""

    audience: str
    clock: Callable[[], float]
    cache_seconds: float
    live: bool
    revocation_feed: bool
    silence: float
    when_silent: WhenSilent
    status_lists: bool

    def __post_init__(self) -> None:
        for flag in ("live", "revocation_feed", "status_lists"):
            check_flag(flag, getattr(self, flag))
        for seconds in ("cache_seconds", "silence"):
            check_seconds(seconds, getattr(self, seconds))
        check_choice("when_silent", self.when_silent, get_args(WhenSilent))


def principal_of(claims: Mapping[str, object], issuer: str) -> Principal:
    """Return the caller that claims name; raise Invalid where they do not say properly to which key or certificate the token is bound."""
    try:
        return from_claims(claims, issuer)
    except Misbound:  # it must not count as a bearer token
        raise Invalid(reason="it is bound, and its cnf does not say properly to what") from None


def check_meant_for(principal: Principal, audience: str) -> None:
    """Raise Invalid for a token that is meant for another API."""
    if audience not in principal.audience:
        meant = " ".join(principal.audience)[:200]
        raise Invalid(ELSEWHERE, f"it is meant for {meant!r}, and the audience here is {audience!r}")


def not_active(claims: Mapping[str, object]) -> Invalid:
    """Return why a token is refused whose introspection answer says that it is not active."""
    if "aud" in claims:  # named when a valid token is not active here because it is for another API
        return Invalid(ELSEWHERE)
    seconds = claims.get("retry_after")
    return TooOften(seconds) if type(seconds) is int and 0 < seconds <= 3600 else Invalid(reason=INACTIVE)
