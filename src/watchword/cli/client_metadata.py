"""The options of `watchword client create` and `client update` as client metadata of the admin API.

An option that was not given sets nothing; an empty text removes the value.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from watchword.cli import session
from watchword.flows.clients.client_metadata import ClientInput
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError
from watchword.oauth.answers import KINDS
from watchword.oauth.clients import ExchangeRules

Metadata = dict[str, object]
Options = Mapping[str, Any]
# Options whose value is that of the member.
PLAIN = {
    "name": "name",
    "auth": "token_endpoint_auth_method",
    "scope": "scope",
    "token_format": "access_token_format",
    "token_status": "access_token_status",
    "first_party": "first_party",
    "pkce": "require_pkce",
    "pushed": "require_pushed_authorization_requests",
    "dpop": "dpop_bound_access_tokens",
    "certificate_bound": "tls_client_certificate_bound_access_tokens",
    "profile": "security_profile",
    "require_auth_time": "require_auth_time",
    "backchannel_logout_session_required": "backchannel_logout_session_required",
    "frontchannel_logout_session_required": "frontchannel_logout_session_required",
}
# Options that an empty text removes.
ADDRESSES = {
    "sector": "sector_identifier_uri",
    "backchannel_logout_uri": "backchannel_logout_uri",
    "frontchannel_logout_uri": "frontchannel_logout_uri",
}
LISTS = {
    "redirect_uri": "redirect_uris",
    "post_logout_redirect_uri": "post_logout_redirect_uris",
    "grant": "grant_types",
    "resource": "resources",
    "details": "authorization_details_types",
    "acr": "default_acr_values",
    "group": "groups",
}


def of(options: Options, before: ClientInput | None = None) -> Metadata:
    """Return the members that the options set; rules of token exchange are merged with those of the client `before`."""
    said: Metadata = {
        member: options[option] for option, member in PLAIN.items() if options.get(option) is not None
    }
    for option, member in ADDRESSES.items():
        if options.get(option) is not None:
            said[member] = options[option] or None
    for option, member in LISTS.items():
        if options.get(option):
            said[member] = _listed(options[option])
    if options.get("native") is not None:
        said["application_type"] = "native" if options["native"] else "web"
    if options.get("pairwise") is not None:
        said["subject_type"] = "pairwise" if options["pairwise"] else "public"
    if (lifetime := options.get("lifetime")) is not None:
        said["access_token_lifetime"] = session.duration(lifetime, "--lifetime") if lifetime else None
    if (age := options.get("max_age")) is not None:
        said["default_max_age"] = session.duration(age, "--max-age") if age else None
    return said | _proofs(options) | _answers(options) | _exchange(options, before)


def _listed(texts: Sequence[str]) -> list[str]:
    return [] if list(texts) == [""] else list(texts)


def _proofs(options: Options) -> Metadata:
    """Return how the client authenticates, and how it signs its requests."""
    said = _jwks(options.get("jwks"))
    if (subject := options.get("certificate_subject")) is not None:
        said["tls_client_auth_subject"] = _subject(subject) if subject else None
    signed, algorithm = options.get("signed_requests"), options.get("request_algorithm")
    if signed and algorithm is not None:
        session.usage("--signed-requests names the algorithm: leave out --request-algorithm")
    if signed is not None:
        said["require_signed_request_object"] = bool(signed)
        said["request_object_signing_alg"] = None if signed == "any" else signed or None
    if algorithm is not None:
        said["request_object_signing_alg"] = algorithm or None
    if (asserted := options.get("auth_algorithm")) is not None:
        said["token_endpoint_auth_signing_alg"] = asserted or None
    return said


def _subject(text: str) -> list[str]:
    kind, equals, name = text.partition("=")
    if not kind or not equals or not name:
        session.usage(
            f"--certificate-subject takes KIND=NAME such as san_dns=client.example.com, not {text!r}"
        )
    return [kind, name]


def _jwks(value: str | None) -> Metadata:
    if value is None:
        return {}
    if value.startswith(("https://", "http://")):
        return {"jwks": None, "jwks_uri": value}
    return {"jwks": read_json(value, "--jwks", "or an https address") if value else None, "jwks_uri": None}


def read_json(path: str, option: str, also: str = "") -> object:
    """Return the JSON in a file, parsed as strictly as by the admin API; exit with 2 and the reason when that fails."""
    try:
        return strict_json.loads(Path(path).read_bytes())
    except (OSError, StrictJSONError) as error:
        why = f" ({error})" if isinstance(error, StrictJSONError) else ""
        return session.usage(
            f"{option} takes {' '.join(['a readable JSON file', also]).strip()}, not {path!r}{why}"
        )


def _answers(options: Options) -> Metadata:
    """Return how answers for the client are signed and encrypted."""
    said: Metadata = {}
    for kind, alg in _by_kind(options, "sign"):
        said[f"{kind}_signed_response_alg"] = alg or None
    for kind, algorithms in _by_kind(options, "encrypt"):
        alg, _, enc = algorithms.partition("/")
        said |= {f"{kind}_encrypted_response_alg": alg or None, f"{kind}_encrypted_response_enc": enc or None}
    return said


def _by_kind(options: Options, option: str) -> Iterator[tuple[str, str]]:
    form = f"{', '.join(KINDS)}, then = and the algorithm"
    for kind, value in session.pairs(options.get(option), f"--{option}", form, may_be_empty=True).items():
        if kind not in KINDS:
            session.usage(f"--{option} takes {form}, not {f'{kind}={value}'!r}")
        yield kind, value


def _exchange(options: Options, before: ClientInput | None) -> Metadata:
    """Return the rules of token exchange: the former ones, changed by the options."""
    if (path := options.get("exchange_rules")) is not None:
        return {"token_exchange": read_json(path, "--exchange-rules") if path else None}
    said: Metadata = {}
    for option, member in (("exchange_from", "serves"), ("exchange_for", "audiences")):
        if options.get(option):
            said[member] = _listed(options[option])
    for option in ("impersonate", "delegate"):
        if options.get(option) is not None:
            said[option] = options[option]
    if (lifetime := options.get("exchange_lifetime")) is not None:
        said["max_lifetime"] = session.duration(lifetime, "--exchange-lifetime")
    if options.get("assert_to"):
        said["assertions"] = [_target(text) for text in _listed(options["assert_to"])]
    if not said:
        return {}
    rules = before.token_exchange if before is not None else None
    return {"token_exchange": msgspec.to_builtins(rules or ExchangeRules()) | said}


def _target(text: str) -> dict[str, str]:
    issuer, equals, client_id = text.rpartition("=")
    if not equals or not issuer or not client_id:
        session.usage(f"--assert-to takes ISSUER=CLIENT_ID, not {text!r}")
    return {"issuer": issuer, "client_id": client_id}
