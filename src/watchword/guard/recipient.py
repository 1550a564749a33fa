"""Which issuer a token is verified by, where a guard trusts several.

A JWT names its issuer. An opaque token is sent to one issuer only, so that no other could use it.
"""

from collections.abc import Mapping

from watchword.guard.local import LocalVerifier
from watchword.guard.verified import Invalid
from watchword.guard.verifier import Verifier
from watchword.jose import JoseError, jwt

AnyVerifier = Verifier | LocalVerifier


def verifier_of(token: str, verifiers: Mapping[str, AnyVerifier]) -> AnyVerifier:
    """Return the verifier of a token's issuer; raise Invalid for a token of none of these issuers."""
    if token.count(".") == 2:
        stated = _stated_issuer(token)
        found = verifiers.get(stated)
        if found is None:
            raise Invalid(reason=f"its issuer {stated[:200]!r} is none of {', '.join(verifiers)}")
        return found
    unclaimed = []
    for verifier in verifiers.values():
        prefixes = verifier.trusted.opaque_prefixes if isinstance(verifier, Verifier) else ()
        if token.startswith(prefixes):
            return verifier
        if not prefixes:
            unclaimed.append(verifier)
    if not unclaimed:
        raise Invalid(reason="it is no JWT, and has the prefix of no issuer")
    return unclaimed[0]


def _stated_issuer(token: str) -> str:
    """Return the issuer that an unverified JWT names: its signature must then verify with that issuer's keys."""
    try:
        return str(jwt.peek(token).get("iss", ""))
    except JoseError:
        raise Invalid(reason="malformed") from None
