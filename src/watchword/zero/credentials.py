"""docs/zero.md §6: SD-JWTs in files and on the command line: a holder's presentations, an issuer's credentials and its keys."""

import json
import os
from collections.abc import Sequence

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.jose import JoseError, jwk
from watchword.jose.jwk import Key
from watchword.zero import presentation, sd_jwt
from watchword.zero.disclosure import Value
from watchword.zero.files import STREAM, named, read_bytes, read_private, write_bytes
from watchword.zero.records import Challenge, Identity, parse_json

Trusted = tuple[str, Sequence[Key]]


def read(path: str) -> str:
    """Read an SD-JWT from a file, or from standard input for `-`; raise ZeroError naming the file."""
    with named(path):
        return as_text(read_bytes(path))


def as_text(data: bytes) -> str:
    """Return an SD-JWT as text; raise ZeroError when it cannot be one."""
    if not data.startswith(presentation.START) or not data.isascii():
        raise ZeroError("malformed", "not an SD-JWT")
    return data.decode().strip()


def give(text: str, out: str, as_json: bool) -> None:
    """Write an SD-JWT to a file or to standard output; `as_json` prints a JSON document."""
    if out != STREAM:
        write_bytes(out, text.encode() + b"\n")
        typer.echo(json.dumps({"file": out, "kind": "sd-jwt"}) if as_json else f"file  {out}\nkind  sd-jwt")
        return
    typer.echo(json.dumps({"sd_jwt": text}) if as_json else text)


def verify(
    shown: str,
    known: Identity,
    asked: Challenge,
    trusted: Trusted | None,
    channel: bytes | None,
    now: int,
    leeway: int,
) -> dict[str, Value]:
    """Return the attributes that an SD-JWT discloses, signed by the `trusted` issuer or, without one, self-asserted by the holder.

    Raise ZeroError.
    """
    if trusted is None:
        own = presentation.verify_own(shown, known, asked, channel=channel, now=now, leeway=leeway)
        return own.attributes
    issuer, keys = trusted
    issued = presentation.verify_issued(shown, issuer, keys, asked, channel=channel, now=now, leeway=leeway)
    presentation.check_same(issued, known)
    return issued.attributes


def attest(shown: str, known: Identity, issuer: str, key: Key, now: int) -> str:
    """Sign only what the holder has opened in a presentation, as a credential bound to the key of that presentation.

    The presentation must be verified already.
    """
    opened = sd_jwt.peek_opened(shown)
    return sd_jwt.issue(key, issuer, known, sd_jwt.peek_key(shown), now, opened=opened)


def private_key(path: str) -> Key:
    """Read an issuer's private JWK; where there is none, create one, with its public half beside it in `PATH.pub`."""
    with named(path):
        if not os.path.lexists(path):
            return _new_key(path)
        keys = [
            key
            for key in _parse(read_private(path), is_private=True)
            if key.private is not None and key.alg in sd_jwt.ALGORITHMS
        ]
        if len(keys) != 1:
            raise ZeroError("malformed", f"not one private JWK for {', '.join(sd_jwt.ALGORITHMS)}")
        return keys[0]


def public_keys(path: str) -> Sequence[Key]:
    """Read an issuer's public JWK or JWK set; raise ZeroError naming the file."""
    with named(path):
        return _parse(read_bytes(path))


def _new_key(path: str) -> Key:
    key = jwk.generate("ES256")
    write_bytes(path, json.dumps(jwk.private_document(key)).encode() + b"\n", private=True)
    try:
        write_bytes(f"{path}.pub", json.dumps(jwk.public_document(key)).encode() + b"\n")
    except ZeroError:
        os.unlink(path)  # it would be used from now on, and no verifier could ever be given its public half
        raise
    return key


def _parse(data: bytes, *, is_private: bool = False) -> Sequence[Key]:
    document = parse_json(data)
    read = jwk.parse if is_private else jwk.parse_public
    try:
        if isinstance(document, dict) and "keys" in document:
            return jwk.parse_set(document, is_private=is_private)
        return [read(document if isinstance(document, dict) else {})]
    except JoseError as error:
        raise ZeroError("malformed", f"not a JWK: {error.reason}") from None
