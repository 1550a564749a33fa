"""Options of `watchword client …` that both its making and its changing have, and what they mean."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from watchword.cli import session
from watchword.oauth.answers import KINDS

SIGN_HELP = (
    "How answers for it are signed: id_token, userinfo or introspection, such as userinfo=ES256; repeatable."
)
ENCRYPT_HELP = "How they are encrypted to its key, such as id_token=RSA-OAEP-256 or userinfo=ECDH-ES/A256GCM; repeatable."
LOGOUT_URIS = ("backchannel_logout_uri", "frontchannel_logout_uri")
BackchannelUri = Annotated[
    str | None, typer.Option(help="Where logout tokens are sent when a session ends (back-channel logout).")
]
BackchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--backchannel-logout-session-required/--backchannel-logout-session-optional",
        help="Its logout tokens must name the session.",
    ),
]
FrontchannelUri = Annotated[
    str | None, typer.Option(help="What the browser loads at sign-out (front-channel logout).")
]
FrontchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--frontchannel-logout-session-required/--frontchannel-logout-session-optional",
        help="The browser loads it with iss and sid.",
    ),
]


def jwks(value: str | None) -> dict[str, object]:
    """Return what `--jwks` names: keys of a file, or where they are."""
    if value is None:
        return {}
    if value.startswith(("https://", "http://")):
        return {"jwks_uri": value}
    try:
        return {"jwks": msgspec.json.decode(Path(value).read_bytes())}
    except (OSError, msgspec.DecodeError):
        session.usage(f"--jwks takes a readable JSON file or an https address, not {value!r}")


def answers(sign: list[str] | None, encrypt: list[str] | None) -> dict[str, object]:
    """Return what `--sign` and `--encrypt` say of the answers for a client."""
    named: dict[str, object] = {}
    for text in sign or []:
        kind, alg = _kind(text, "--sign")
        named[f"{kind}_signed_response_alg"] = alg
    for text in encrypt or []:
        kind, algorithms = _kind(text, "--encrypt")
        alg, _, enc = algorithms.partition("/")
        named |= {f"{kind}_encrypted_response_alg": alg, f"{kind}_encrypted_response_enc": enc or None}
    return named


def _kind(text: str, option: str) -> tuple[str, str]:
    kind, _, value = text.partition("=")
    if kind not in KINDS or not value:
        session.usage(f"{option} takes {', '.join(KINDS)}, then = and the algorithm, not {text!r}")
    return kind, value


def exchange(
    serves: list[str] | None, audiences: list[str] | None, impersonate: bool, assert_to: list[str] | None
) -> dict[str, object]:
    """Return the rules of token exchange that the options make."""
    if not serves and not audiences and not impersonate and not assert_to:
        return {}
    targets = []
    for text in assert_to or []:
        issuer, equals, client_id = text.rpartition("=")
        if not equals or not issuer or not client_id:
            session.usage(f"--assert-to takes ISSUER=CLIENT_ID, not {text!r}")
        targets.append({"issuer": issuer, "client_id": client_id})
    rules = {"serves": serves or [], "audiences": audiences or [], "impersonate": impersonate}
    return {"token_exchange": rules | {"assertions": targets}}
