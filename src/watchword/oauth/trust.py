"""RFC 7523 §2.1 and §3: assertions of other issuers as authorization grants, by trust rules.

Owns the rules that turn another issuer's identity token (of a CI job, of a workload) into a short-lived scoped token here, and the
checks that such an assertion must pass. Fetching the issuer's keys and recording the `jti` as used are the caller's business. A rule
needs a pattern for a claim besides the issuer, since a public CI issuer signs for the whole world.

Patterns: `*` matches any run of characters except `/`, `**` any run at all, everything else itself. A number or boolean is compared
in its JSON spelling; of a list one element must match.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key
from watchword.oauth import dpop
from watchword.oauth.errors import OAuthError

LEEWAY = 30
MAX_VALUE = 1000
MAX_SUBJECT = 255
MAX_PATTERN = 256
MAX_JTI = 256
ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")

_WILDCARD = re.compile(r"(\*\*|\*)")
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.:/-]{1,100})\}")
_SUBJECT = re.compile(r"[!-~]+")


class TrustRule(msgspec.Struct, frozen=True):
    """Which assertions of an issuer are accepted, and what is granted for them.

    `issuer` and `audience` are compared letter by letter; every pattern in `claims` must match; `scope` is what may be granted;
    `subject` is a template such as `ci:{repository}`; `max_lifetime` of an assertion is in seconds.
    """

    name: str
    issuer: str
    audience: str
    claims: Mapping[str, str]
    scope: tuple[str, ...]
    subject: str
    max_lifetime: int = 3600
    algorithms: tuple[str, ...] = ALGORITHMS


class Trusted(msgspec.Struct, frozen=True):
    """An assertion that a rule accepts; its `jti` must be remembered until `used_until`, and cannot have been used before `earliest`
    (Unix seconds)."""

    rule: TrustRule
    subject: str
    scope: tuple[str, ...]
    jti: str
    used_until: int
    earliest: int


def check_rule(rule: TrustRule) -> TrustRule:
    """Return a rule that is safe to keep; raise `invalid_request`."""
    if not rule.claims or all(set(pattern) <= {"*"} for pattern in rule.claims.values()):
        raise _unsafe("A trust rule needs a pattern that does more than require a claim to exist.")
    if "iss" in rule.claims or "aud" in rule.claims:
        raise _unsafe("Issuer and audience of a trust rule are exact, not patterns.")
    if any(not 0 < len(pattern) <= MAX_PATTERN for pattern in rule.claims.values()):
        raise _unsafe(f"A pattern has 1 to {MAX_PATTERN} characters.")
    if not rule.scope or not rule.issuer or not rule.audience or not 0 < rule.max_lifetime <= 86_400:
        raise _unsafe(
            "A trust rule needs an issuer, an audience, a scope and a max_lifetime of at most a day."
        )
    if "{" in _PLACEHOLDER.sub("", rule.subject) or not _SUBJECT.fullmatch(
        _PLACEHOLDER.sub("x", rule.subject)
    ):
        raise _unsafe("The subject is printable text with placeholders such as {repository}.")
    if "}{" in rule.subject:
        raise _unsafe("The subject needs text between its placeholders, such as {repository}:{environment}.")
    if not rule.algorithms or not set(rule.algorithms) <= set(ALGORITHMS):
        raise _unsafe("A trust rule must name signature algorithms that this server supports.")
    return rule


def peek_issuer(assertion: str) -> str | None:
    """Return the `iss` of an unverified assertion, to look rules and keys up; None when malformed."""
    try:
        issuer: str | None = jwt.peek(assertion).get("iss")
    except JoseError:
        return None
    return issuer or None


def check_assertion(
    assertion: str,
    rules: Sequence[TrustRule],
    keys: Sequence[Key],
    *,
    jkt: str | None = None,
    now: int,
) -> Trusted:
    """Check an assertion against the rules for its issuer; the first that matches counts. Raise `invalid_grant`.

    `jkt` is the key that the caller proved: an assertion with `cnf` must be bound to it.
    """
    issuer = peek_issuer(assertion)
    candidates = [rule for rule in rules if rule.issuer == issuer]
    if not candidates:  # TK-15
        raise _refused("unknown issuer")
    algorithms = {name for rule in candidates for name in rule.algorithms}
    claims = _verified(assertion, keys, algorithms, now)
    if "cnf" in claims and not dpop.is_held(claims["cnf"], jkt):
        raise _refused("bound to a key that was not proven")
    alg = jws.peek(assertion).alg
    rule = next((rule for rule in candidates if not _unmet(rule, alg, claims, now)), None)
    if rule is None:
        # For the operator alone, and by the names in the rules: no value of the assertion is told.
        why = (f"{rule.name}: {', '.join(_unmet(rule, alg, claims, now))}" for rule in candidates)
        raise _refused(f"no trust rule matches [{'; '.join(why)}]")
    return Trusted(
        rule=rule,
        subject=_subject(rule.subject, claims),
        scope=rule.scope,
        jti=claims["jti"],
        used_until=int(claims["exp"]) + LEEWAY + 1,
        earliest=jwt.earliest(claims, longest=rule.max_lifetime, leeway=LEEWAY),
    )


def _verified(
    assertion: str, keys: Sequence[Key], algorithms: Collection[str], now: int
) -> Mapping[str, Any]:
    try:
        claims = jwt.decode(
            assertion,
            keys,
            algorithms=algorithms,
            typ=("JWT", ""),  # RFC 8725 §3.11: neither an access token nor a proof of another kind
            now=now,
            leeway=LEEWAY,
            required=("iss", "sub", "aud", "exp", "jti"),  # §3 (1)–(4), (7)
        )
    except JoseError as error:
        raise _refused(error.reason) from None
    if not 0 < len(claims["jti"]) <= MAX_JTI:
        raise _refused("jti is empty or too long")
    return claims


def _unmet(rule: TrustRule, alg: str, claims: Mapping[str, Any], now: int) -> list[str]:
    """Return what in an assertion is not as the rule wants it; nothing if the rule accepts it."""
    aud, exp = claims["aud"], claims["exp"]
    return [
        *(() if alg in rule.algorithms else ("alg",)),
        *(() if aud in (rule.audience, [rule.audience]) else ("aud",)),  # §3 (3): for us and for nobody else
        *(() if exp <= now + rule.max_lifetime + LEEWAY else ("exp",)),
        *(name for name, pattern in rule.claims.items() if not _matches(claims.get(name), pattern)),
    ]


def _matches(value: object, pattern: str) -> bool:
    if isinstance(value, list):
        return any(_matches(one, pattern) for one in value[:100] if not isinstance(one, list))
    text = _spelling(value)
    return text is not None and len(text) <= MAX_VALUE and _fits(_tokens(pattern), text)


def _spelling(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else None


@lru_cache(maxsize=512)
def _tokens(pattern: str) -> tuple[str, ...]:
    found: list[str] = []
    for part in _WILDCARD.split(pattern):
        found.extend([part] if part in ("*", "**") else part)
    return tuple(found)


def _fits(tokens: tuple[str, ...], text: str) -> bool:
    # Tracks all possible positions at once, in linear time: a backtracking regular expression could be made to take hours.
    positions = _skip_wildcards(tokens, {0})
    for character in text:
        reached = set()
        for position in positions:
            token = tokens[position] if position < len(tokens) else ""
            if token == "**" or (token == "*" and character != "/"):
                reached.add(position)
            elif token == character:
                reached.add(position + 1)
        positions = _skip_wildcards(tokens, reached)
    return len(tokens) in positions


def _skip_wildcards(tokens: tuple[str, ...], positions: set[int]) -> set[int]:
    found = set(positions)
    for start in positions:
        position = start
        while position < len(tokens) and tokens[position] in ("*", "**"):
            position += 1
            found.add(position)
    return found


def _subject(template: str, claims: Mapping[str, object]) -> str:
    """Fill in a template so that the result can be split in one way only: otherwise two callers could get the same subject."""
    subject, *rest = _PLACEHOLDER.split(template)
    placeholders = len(rest) // 2
    for number, (name, separator) in enumerate(zip(rest[::2], rest[1::2], strict=True), 1):
        text = _spelling(claims.get(name))
        if not text or not _SUBJECT.fullmatch(text):
            raise _refused(f"the claim {name} cannot be part of a subject")
        if number < placeholders and (text + separator).find(separator) != len(text):
            raise _refused(
                f"the claim {name} contains the text that separates it from the next one in the subject"
            )
        subject += text + separator
    if len(subject) > MAX_SUBJECT:
        raise _refused("the subject is too long")
    return subject


def _unsafe(description: str) -> OAuthError:
    return OAuthError("invalid_request", description, field="trust_rule")


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_grant", "The assertion is not accepted.", detail=f"assertion: {reason}")
