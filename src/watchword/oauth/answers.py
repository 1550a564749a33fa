"""OpenID Connect Registration §2 and RFC 9701 §6: what a client wants to know, and how it wants what is made for it alone signed and encrypted.

Three kinds of answers: ID tokens, userinfo and introspection. Owns what may be registered for them and the choice of algorithms;
signing and encrypting are done elsewhere.
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
AcrValue = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,200}\Z")]  # those of a request are parted by spaces

KINDS = ("id_token", "userinfo", "introspection")


class AnswersInput(msgspec.Struct, frozen=True, kw_only=True):
    """By which names a client knows people, what it wants to know of a sign-in where its request says nothing of that (`default_max_age`
    in seconds), and how it wants what is made for it alone signed and encrypted."""

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
    """Return the fields of AnswersInput that something has: what was stated, given or stored of a client."""
    return {name: getattr(source, name) for name in AnswersInput.__struct_fields__}


class Protection(msgspec.Struct, frozen=True):
    """What a client registered for one kind of answer; None where it left it open."""

    signed: str | None
    alg: str | None
    enc: str | None


def protection_of(client: Client, kind: str) -> Protection:
    """Return how a client wants one of `KINDS`; the content encryption is filled in where there is encryption."""
    alg = getattr(client, f"{kind}_encrypted_response_alg")
    enc = getattr(client, f"{kind}_encrypted_response_enc")
    signed = getattr(client, f"{kind}_signed_response_alg")
    return Protection(signed, alg, enc or (jwe.DEFAULT_ENCODING if alg else None))


def signing_algorithm(client: Client, kind: str, available: Collection[str]) -> str:
    """Return the algorithm that signs an answer: the registered one as long as the server has keys for it."""
    wanted = protection_of(client, kind).signed
    return (
        wanted if wanted in available and wanted is not None else client.signing_algorithm(tuple(available))
    )


def check(client: Client, available: Collection[str]) -> None:
    """Check what a client registered, for the algorithms that the server signs by; raise `invalid_client_metadata`."""
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
