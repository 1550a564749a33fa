"""RFC 8176, RFC 9470 and OpenID Connect Core §2: how a person was authenticated, recorded truthfully.

`amr` names the methods that were used, `acr` the assurance that their combination gives, in the levels of NIST SP 800-63B-4 §2:

- `urn:watchword:aal2-phr`: two factors, of which one cannot be phished (a passkey);
- `urn:watchword:aal2`: two different factors;
- `urn:watchword:aal1`: one factor;
- `urn:watchword:aal0`: possession of a mailbox, which is no factor.

Owns these names and the table; when a level is demanded is decided by clients and policy. Nothing here claims hardware (`hwk`) or
biometrics (`fpt`, `face`): without attestation nobody knows.
"""

from collections.abc import Iterable
from enum import StrEnum

AAL0 = "urn:watchword:aal0"
AAL1 = "urn:watchword:aal1"
AAL2 = "urn:watchword:aal2"
PHISHING_RESISTANT = "urn:watchword:aal2-phr"
LEVELS = (AAL0, AAL1, AAL2, PHISHING_RESISTANT)


class Method(StrEnum):
    """A way in which a person proved who they are; the value is its name in settings and events."""

    PASSWORD = "password"
    PASSKEY = "passkey"  # user presence only
    PASSKEY_VERIFIED = "passkey_verified"  # the authenticator also verified the user
    TOTP = "totp"
    RECOVERY_CODE = "recovery_code"
    EMAIL_CODE = "email_code"
    UPSTREAM = "upstream"
    IDENTITY = "identity"  # a zero-knowledge identity's secret


# RFC 8176 §2; "pop" from OpenID EAP; "fed", "recovery" and "email" are ours, because the registry has no fitting name.
AMR: dict[Method, tuple[str, ...]] = {
    Method.PASSWORD: ("pwd",),
    Method.PASSKEY: ("pop", "user"),
    Method.PASSKEY_VERIFIED: ("pop", "user", "mfa"),
    Method.TOTP: ("otp",),
    Method.RECOVERY_CODE: ("recovery",),
    Method.EMAIL_CODE: ("email",),
    Method.UPSTREAM: ("fed",),
    Method.IDENTITY: ("pop",),
}

# The first row whose methods were all used gives the level.
ACR: tuple[tuple[frozenset[Method], str], ...] = (
    (frozenset({Method.PASSKEY_VERIFIED}), PHISHING_RESISTANT),
    (frozenset({Method.PASSWORD, Method.PASSKEY}), PHISHING_RESISTANT),
    (frozenset({Method.UPSTREAM, Method.PASSKEY}), PHISHING_RESISTANT),
    (frozenset({Method.PASSWORD, Method.TOTP}), AAL2),
    (frozenset({Method.UPSTREAM, Method.TOTP}), AAL2),
    (frozenset({Method.PASSWORD, Method.RECOVERY_CODE}), AAL2),
    (frozenset({Method.UPSTREAM, Method.RECOVERY_CODE}), AAL2),
    (frozenset({Method.PASSWORD}), AAL1),
    (frozenset({Method.PASSKEY}), AAL1),
    (frozenset({Method.TOTP}), AAL1),
    (frozenset({Method.RECOVERY_CODE}), AAL1),
    (frozenset({Method.UPSTREAM}), AAL1),
    (frozenset({Method.IDENTITY}), AAL1),
)


def assurance(methods: Iterable[Method]) -> tuple[str, tuple[str, ...]]:
    """Return `acr` and `amr` of the methods that one person has used."""
    used = frozenset(methods)
    acr = next((level for needed, level in ACR if needed <= used), AAL0)
    names = [name for method in Method if method in used for name in AMR[method]]
    if LEVELS.index(acr) >= LEVELS.index(AAL2):  # RFC 8176 §2: "mfa" beside the methods themselves
        names.append("mfa")
    return acr, tuple(dict.fromkeys(names))


def methods_of(amr: Iterable[str]) -> frozenset[Method]:
    """Return the methods that a recorded `amr` stands for; unknown names are ignored."""
    names = set(amr)
    plain = {method for method in Method if len(AMR[method]) == 1 and AMR[method][0] in names}
    plain.discard(Method.IDENTITY)
    if "pop" in names and "user" not in names:
        plain.add(Method.IDENTITY)
    elif "pop" in names:
        # Beside a password "mfa" may come from the two of them; alone it means that the authenticator verified the user.
        alone = "mfa" in names and not plain & {Method.PASSWORD, Method.UPSTREAM}
        plain.add(Method.PASSKEY_VERIFIED if alone else Method.PASSKEY)
    return frozenset(plain)


def step_up(amr: Iterable[str], *methods: Method) -> tuple[str, tuple[str, ...]]:
    """RFC 9470: return `acr` and `amr` of a session after further methods were used in it."""
    return assurance(methods_of(amr) | set(methods))


def renews(before: str, after: str, method: Method) -> bool:
    """Whether a further proof renews `auth_time`: it changed `acr`, or reaches its level alone.

    A password typed in a session that a passkey opened must not pass for a fresh passkey, nor a code by mail for a fresh password.
    """
    alone, _amr = assurance((method,))
    return before != after or before not in LEVELS or LEVELS.index(alone) >= LEVELS.index(before)
