"""What a person reads when a proof of who they are was refused, or was one attempt too many."""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows.factors import FactorRefused
from watchword.flows.throttle import Throttled
from watchword.pages.render import Problem
from watchword.telemetry import log


def problem(refused: Exception) -> str | Problem:
    """Return the problem that tells a person why a proof was refused; why a passkey was, in detail, is for the log."""
    if isinstance(refused, Throttled):
        return throttled(refused)
    if isinstance(refused, PasskeyRefused):
        log.info("passkey.refused", reason=refused.reason, detail=refused.detail)
        return "passkey_unknown" if refused.reason == "unknown" else "passkey_refused"
    return refused.problem if isinstance(refused, FactorRefused) else "invalid"


def throttled(refused: Throttled) -> Problem:
    """Return the problem that tells a person how long to wait."""
    return Problem("throttled", {"minutes": -(-refused.wait // 60)})
