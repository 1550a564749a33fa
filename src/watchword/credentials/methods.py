"""RFC 8176 and OpenID Connect Core §2: how a person was authenticated, recorded truthfully.

`amr` names the methods that were used, `acr` the assurance that their combination gives (NIST SP 800-63B-4 §2).
"""

AAL1 = "urn:watchword:aal1"
AAL2 = "urn:watchword:aal2"
LEVELS = (AAL1, AAL2)

PASSWORD_ONLY = (AAL1, ("pwd",))


def satisfies(acr: str, requested: tuple[str, ...]) -> bool:
    """Whether an assurance is at least one of those requested; an unknown request is never satisfied."""
    known = [LEVELS.index(value) for value in requested if value in LEVELS]
    return bool(known) and acr in LEVELS and LEVELS.index(acr) >= min(known)
