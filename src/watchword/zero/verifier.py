"""docs/zero.md §9: the commands of a verifier: inspect files, verify identities and proofs, make challenges, attest to attributes."""

import os
from typing import Annotated

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.zero import credentials
from watchword.zero import identity as identities
from watchword.zero.description import describe
from watchword.zero.disclosure import Value
from watchword.zero.files import STREAM, load, load_any, named, read_bytes, read_record, read_revocations
from watchword.zero.options import (
    Channel,
    Form,
    Json,
    KnownIdentity,
    Leeway,
    MadeChallenge,
    Out,
    ProofFile,
    Purpose,
    Registry,
    Verifier,
    in_a_file,
)
from watchword.zero.presentation import START
from watchword.zero.proof import check_challenge, issue_challenge
from watchword.zero.proof import verify_proof as verify
from watchword.zero.records import Challenge, Identity, Proof
from watchword.zero.terminal import (
    apart,
    channel_bytes,
    exits,
    give,
    now_seconds,
    one_stream,
    required,
    seconds,
    show,
)


def info(
    file: Annotated[
        str,
        typer.Argument(help="An identity, secret, challenge, proof or revocation, - for standard input."),
    ],
    as_json: Json = False,
) -> None:
    """Describe a file, without checking any proof."""
    with exits(as_json):
        with named(file):
            described = describe(load_any(read_bytes(file)))
        show(described, as_json)


def verify_identity(
    identity: Annotated[str, typer.Argument(help="The identity, - for standard input.")],
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Verify an identity: its own proof, its dates, and that it is not revoked."""
    with exits(as_json):
        one_stream(identity, registry)
        document = read_record(identity, Identity)
        revoked = _revoked(registry)
        with named(identity):
            identities.check_identity(document, now=now_seconds(), revoked=revoked)
        show({"valid": True, **describe(document)}, as_json)


def challenge(
    verifier: Verifier = None,
    purpose: Purpose = None,
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it may be answered.")] = "2m",
    out: Out = STREAM,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Make a challenge for someone to answer."""
    with exits(as_json):
        for_whom = required(verifier, "--verifier", "Verifier (you)")
        for_what = required(purpose, "--purpose", "Purpose")
        made = issue_challenge(for_whom, for_what, os.urandom(32), now_seconds(), seconds(lifetime))
        give(made, out, form, as_json)


def verify_proof(
    proof: ProofFile,
    identity: KnownIdentity = None,
    challenge: MadeChallenge = None,
    channel: Channel = None,
    registry: Registry = None,
    leeway: Leeway = 30,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", help="Who must have signed an SD-JWT; by default the holder itself."),
    ] = None,
    issuer_key: Annotated[
        str | None, typer.Option("--issuer-key", help="The issuer's public JWK or JWK set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a proof, or an SD-JWT in its place. Then delete the challenge: it must be accepted only once."""
    with exits(as_json):
        at = channel_bytes(channel)
        trusted = None
        if issuer is None and issuer_key is not None:
            raise typer.BadParameter("--issuer-key is the key of the issuer that --issuer names: give both.")
        if issuer is not None:
            from_whom = required(issuer_key, "--issuer-key", "Key")
            one_stream(proof, identity, challenge, registry, from_whom)
            trusted = issuer, credentials.public_keys(from_whom)
        known, asked, now = _asked(proof, identity, challenge, registry, leeway)
        with named(proof):
            data = read_bytes(proof)
            if data.startswith(START):
                attributes = credentials.verify(
                    credentials.as_text(data), known, asked, trusted, channel=at, now=now, leeway=leeway
                )
            elif trusted is not None:
                raise ZeroError("malformed", "not an SD-JWT: nothing else has an issuer")
            else:
                attributes = _verify(load(data, Proof), known, asked, at, now, leeway)
        result = {"valid": True, "id": identities.identity_id(known.public), "verifier": asked.verifier}
        show({**result, "purpose": asked.purpose, "attributes": attributes}, as_json)


def attest(
    proof: Annotated[str, typer.Argument(help="The holder's SD-JWT, with the attributes that you check.")],
    issuer: Annotated[
        str, typer.Option("--issuer", help="Your address as the issuer, such as https://registry.example.")
    ],
    key: Annotated[
        str,
        typer.Option("--key", callback=in_a_file, help="Your private JWK (mode 0600); created if missing."),
    ],
    identity: KnownIdentity = None,
    challenge: MadeChallenge = None,
    channel: Channel = None,
    registry: Registry = None,
    leeway: Leeway = 30,
    out: Out = STREAM,
    as_json: Json = False,
) -> None:
    """Sign the attributes that a holder disclosed in its answer, as a credential (SD-JWT) to present elsewhere."""
    with exits(as_json):
        apart(key, f"{key}.pub", out)
        at = channel_bytes(channel)
        known, asked, now = _asked(proof, identity, challenge, registry, leeway)
        shown = credentials.read(proof)
        with named(proof):
            credentials.verify(shown, known, asked, None, channel=at, now=now, leeway=leeway)
        signed = credentials.attest(shown, known, issuer, credentials.private_key(key), now)
        credentials.give(signed, out, as_json)


def _asked(
    proof: str, identity: str | None, challenge: str | None, registry: str | None, leeway: int
) -> tuple[Identity, Challenge, int]:
    """Read the identity and the challenge that an answer is checked against, and check that both are valid now."""
    of_whom = required(identity, "--identity", "Identity file")
    to_what = required(challenge, "--challenge", "Challenge file")
    one_stream(proof, of_whom, to_what, registry)
    known, asked = read_record(of_whom, Identity), read_record(to_what, Challenge)
    now, revoked = now_seconds(), _revoked(registry)
    with named(of_whom):
        identities.check_identity(known, now=now, leeway=leeway, revoked=revoked)
    with named(to_what):
        check_challenge(asked, now=now, leeway=leeway)
    return known, asked, now


def _verify(
    answer: Proof, known: Identity, asked: Challenge, channel: bytes | None, now: int, leeway: int
) -> dict[str, Value]:
    verified = verify(
        answer,
        identity_public=known.public,
        verifier=asked.verifier,
        purpose=asked.purpose,
        challenge=asked.challenge,
        channel=channel,
        now=now,
        leeway=leeway,
        commitments=known.commitments,
    )
    return verified.attributes


def _revoked(registry: str | None) -> frozenset[bytes]:
    return frozenset() if registry is None else read_revocations(registry)
