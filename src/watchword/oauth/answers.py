"""OpenID Connect Registration §2 and RFC 9701 §6: client metadata about ID tokens, userinfo and introspection responses.

Owns what may be registered for these three kinds of answers, and the choice of algorithms. Signing and encrypting are done elsewhere.
"""

from collections.abc import Collection
from typing import Annotated, Any

import msgspec

from watchword.jose import jwe
from watchword.oauth.authorization import ANY_AGE
from watchword.oauth.clients import Client, SubjectType
from watchword.oauth.errors import OAuthError
from watchword.oauth.subject import sector_of

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
# A request separates several by spaces. The lookahead: `$` alone allows a line break in Python, and ECMA-262, which OpenAPI has, no `\Z`.
AcrValue = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,200}$(?!\n)")]

KINDS = ("id_token", "userinfo", "introspection")


class AnswersInput(msgspec.Struct, frozen=True, kw_only=True):
    """The subject type of a client, its defaults for authorization requests (`default_max_age` in seconds), and how its answers are
    signed and encrypted."""

    subject_type: SubjectType = "public"
    sector_identifier_uri: Uri | None = None
    default_max_age: Annotated[int, msgspec.Meta(ge=0, le=ANY_AGE)] | None = None
    require_auth_time: bool = False
    default_acr_values: Annotated[tuple[AcrValue, ...], msgspec.Meta(max_length=10)] = ()
    id_token_signed_response_alg: Text | None = None
    id_token_encrypted_response_alg: Text | None = None
    id_token_encrypted_response_enc: Text | None = None
    userinfo_signed_response_alg: Text | None = None
    userinfo_encrypted_response_alg: Text | None = None
    userinfo_encrypted_response_enc: Text | None = None
    introspection_signed_response_alg: Text | None = None
    introspection_encrypted_response_alg: Text | None = None
    introspection_encrypted_response_enc: Text | None = None


def fields_of(source: object) -> dict[str, Any]:
    """Return the fields of AnswersInput by name, from a client or any other object that has them all."""
    return {name: getattr(source, name) for name in AnswersInput.__struct_fields__}


class Protection(msgspec.Struct, frozen=True):
    """What a client registered for one kind of answer; None where it registered nothing."""

    signed: str | None
    alg: str | None
    enc: str | None


def protection_of(client: Client, kind: str) -> Protection:
    """Return how answers of one of `KINDS` are protected for a client; `enc` has its default when only `alg` is registered."""
    alg = getattr(client, f"{kind}_encrypted_response_alg")
    enc = getattr(client, f"{kind}_encrypted_response_enc")
    signed = getattr(client, f"{kind}_signed_response_alg")
    return Protection(signed, alg, enc or (jwe.DEFAULT_ENCODING if alg else None))


def signing_algorithm(client: Client, kind: str, available: Collection[str]) -> str:
    """Return the algorithm that signs an answer: the registered one as long as the server has keys for it."""
    registered = protection_of(client, kind).signed
    if registered is not None and registered in available:
        return registered
    return client.signing_algorithm(tuple(available))


def check(client: Client, available: Collection[str]) -> None:
    """Check what a client registered against the server's signing algorithms; raise `invalid_client_metadata`."""
    for kind in KINDS:
        _check_kind(client, kind, available)
    if client.subject_type == "pairwise":
        sector_of(client)


def _check_kind(client: Client, kind: str, available: Collection[str]) -> None:
    wanted = protection_of(client, kind)
    if wanted.signed is not None and wanted.signed not in available:
        raise _bad(f"{kind}_signed_response_alg", f"The algorithms are {', '.join(available)}.")
    if wanted.enc is not None and wanted.enc not in jwe.ENCODINGS:
        raise _bad(
            f"{kind}_encrypted_response_enc", f"The content encryptions are {', '.join(jwe.ENCODINGS)}."
        )
    if wanted.alg is None:
        if wanted.enc is not None:
            raise _bad(
                f"{kind}_encrypted_response_alg", "Name the algorithm as well as the content encryption."
            )
        return
    if wanted.alg not in jwe.ALGORITHMS:
        raise _bad(f"{kind}_encrypted_response_alg", f"The algorithms are {', '.join(jwe.ALGORITHMS)}.")
    if client.jwks is None and client.jwks_uri is None:
        raise _bad("jwks", "Encryption needs the client's public key: give jwks or jwks_uri.")
    if client.jwks is not None and jwe.find_key(client.jwks, wanted.alg) is None:
        raise _bad("jwks", f"jwks holds no key for {wanted.alg}.")


def _bad(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)
