"""docs/zero.md §9: `watchword zero …`; one thin function per command, over files and standard streams."""

import os
import time
from typing import Annotated

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.zero import agent as agents
from watchword.zero import identity as identities
from watchword.zero import revocation as revocations
from watchword.zero.derivation import derive as derive_secret
from watchword.zero.description import describe
from watchword.zero.disclosure import Value, pack_attributes, select
from watchword.zero.files import (
    STREAM,
    Format,
    append_revocation,
    load_any,
    named,
    read_bytes,
    read_record,
    read_revocations,
    read_sealed,
    write_record,
)
from watchword.zero.proof import check_challenge, issue_challenge
from watchword.zero.proof import verify_proof as verify
from watchword.zero.records import Challenge, Identity, Proof, Record, Revocation, Secret, parse_json
from watchword.zero.sealing import NONCE_SIZE, SALT_SIZE, seal, unseal
from watchword.zero.terminal import channel_bytes, exits, one_stream, passphrase, required, seconds, show

zero_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zero-knowledge identities: prove who you are without sharing a secret.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")]
Form = Annotated[Format, typer.Option("--format", help="text, json or binary.")]
Out = Annotated[str, typer.Option("--out", help="File to write, - for standard output.")]
SecretFile = Annotated[str | None, typer.Option("--secret", help="The encrypted secret file.")]
PassphraseFile = Annotated[
    str | None, typer.Option("--passphrase-file", help="File (mode 0600) that holds the passphrase.")
]
Verifier = Annotated[
    str | None, typer.Option("--verifier", help="Who verifies, such as https://api.example.")
]
Purpose = Annotated[str | None, typer.Option("--purpose", help="What the proof is for, such as login.")]
Expires = Annotated[str, typer.Option("--expires", help="Lifetime, such as 365d.")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", "-a", help="NAME=TEXT, or NAME:=JSON for a number or truth value."),
]
Channel = Annotated[
    str | None, typer.Option("--channel", help="jkt:THUMBPRINT (DPoP key) or tls-exporter:HEX.")
]
Registry = Annotated[str | None, typer.Option("--revocations", help="Registry of revocations to check.")]

_DAY = 86400


@zero_app.command()
def create(
    secret: SecretFile = None,
    out: Out = STREAM,
    attribute: Attributes = None,
    expires: Expires = "365d",
    revocation: Annotated[
        str | None, typer.Option("--revocation", help="Also make a revocation, to keep apart.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Create an identity: an encrypted secret file and a public document."""
    with exits(as_json):
        path = required(secret, "--secret", "File for the secret")
        new = Secret(os.urandom(32), pack_attributes(_attributes(attribute or [])))
        now = _now()
        identity = identities.create(new, now, now + seconds(expires), os.urandom(32))
        _save_secret(path, new, passphrase(passphrase_file, confirm=True))
        if revocation is not None:
            made = revocations.revoke(new, now, "unspecified", os.urandom(32))
            write_record(revocation, made, "text")
        _give(identity, out, form, as_json)


@zero_app.command()
def info(
    file: Annotated[str, typer.Argument(help="Any file of ours, - for standard input.")],
    as_json: Json = False,
) -> None:
    """Say what a file is, without checking any proof."""
    with exits(as_json):
        with named(file):
            described = describe(load_any(read_bytes(file)))
        show(described, as_json)


@zero_app.command("verify")
def verify_identity(
    identity: Annotated[str, typer.Argument(help="The identity, - for standard input.")],
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Verify an identity: its own proof, its dates, and that it is not revoked."""
    with exits(as_json):
        document = read_record(identity, Identity)
        revoked = _revoked(registry)
        with named(identity):
            identities.check_identity(document, now=_now(), revoked=revoked)
        show({"valid": True, **describe(document)}, as_json)


@zero_app.command()
def derive(
    secret: SecretFile = None,
    verifier: Verifier = None,
    purpose: Purpose = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="Attribute to carry over; by default none.")
    ] = None,
    new_secret: Annotated[
        str | None, typer.Option("--new-secret", help="Also write the derived secret.")
    ] = None,
    expires: Expires = "365d",
    out: Out = STREAM,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Derive the identity for one verifier and purpose; its dates are whole days, so that they do not link."""
    with exits(as_json):
        path = required(secret, "--secret", "Secret file")
        for_whom = required(verifier, "--verifier", "Verifier")
        for_what = required(purpose, "--purpose", "Purpose")
        word = passphrase(passphrase_file)
        parent = _open(path, word)
        child = derive_secret(parent, for_whom, for_what, select(parent, keep or []))
        today = _now() // _DAY * _DAY
        identity = identities.create(child, today, today + seconds(expires), os.urandom(32))
        if new_secret is not None:
            _save_secret(new_secret, child, word)
        _give(identity, out, form, as_json)


@zero_app.command()
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
        made = issue_challenge(for_whom, for_what, os.urandom(32), _now(), seconds(lifetime))
        _give(made, out, form, as_json)


@zero_app.command()
def prove(
    challenge: Annotated[
        str | None, typer.Option("--challenge", help="The challenge, - for standard input.")
    ] = None,
    secret: SecretFile = None,
    agent: Annotated[
        str | None, typer.Option("--agent", envvar="WATCHWORD_ZERO_AGENT", help="The agent's socket.")
    ] = None,
    identity_id: Annotated[str | None, typer.Option("--id", help="Which of the agent's identities.")] = None,
    verifier: Verifier = None,
    purpose: Purpose = None,
    channel: Channel = None,
    disclose: Annotated[list[str] | None, typer.Option("--disclose", help="Attribute to open.")] = None,
    derive_for: Annotated[
        str | None,
        typer.Option("--derive-for", help="Use the identity derived for the verifier and this purpose."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    out: Out = STREAM,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Answer a challenge. You say who you mean to prove it to: a challenge relayed from elsewhere is refused."""
    with exits(as_json):
        asked = read_record(required(challenge, "--challenge", "Challenge file"), Challenge)
        if asked.verifier != required(verifier, "--verifier", "Who are you proving it to"):
            raise ZeroError("verifier", f"the challenge comes from {asked.verifier}")
        if purpose is not None and asked.purpose != purpose:
            raise ZeroError("purpose", f"the challenge is for {asked.purpose}")
        order = agents.Order(asked, channel_bytes(channel), tuple(disclose or ()), derive_for)
        if secret is None and agent is not None:
            _give(agents.ask_proof(agent, order, identity_id), out, form, as_json)
            return
        holder = _open(required(secret, "--secret", "Secret file"), passphrase(passphrase_file))
        _give(agents.fulfil(holder, order, _now(), os.urandom(32)), out, form, as_json)


@zero_app.command("verify-proof")
def verify_proof(
    proof: Annotated[str, typer.Argument(help="The proof, - for standard input.")],
    identity: Annotated[str | None, typer.Option("--identity", help="The prover's identity.")] = None,
    challenge: Annotated[str | None, typer.Option("--challenge", help="The challenge that you made.")] = None,
    channel: Channel = None,
    registry: Registry = None,
    leeway: Annotated[
        int, typer.Option("--leeway", min=0, max=300, help="Seconds that clocks may differ.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Verify a proof. That a challenge is accepted only once is yours to see to: delete it afterwards."""
    with exits(as_json):
        of_whom = required(identity, "--identity", "Identity file")
        to_what = required(challenge, "--challenge", "Challenge file")
        one_stream(proof, of_whom, to_what)
        known, asked = read_record(of_whom, Identity), read_record(to_what, Challenge)
        answer, now, revoked = read_record(proof, Proof), _now(), _revoked(registry)
        with named(of_whom):
            identities.check_identity(known, now=now, leeway=leeway, revoked=revoked)
        with named(to_what):
            check_challenge(asked, now=now, leeway=leeway)
        with named(proof):
            verified = verify(
                answer,
                identity_public=known.public,
                verifier=asked.verifier,
                purpose=asked.purpose,
                challenge=asked.challenge,
                channel=channel_bytes(channel),
                now=now,
                leeway=leeway,
                commitments=known.commitments,
            )
        result = {"valid": True, "id": identities.identity_id(known.public), "verifier": verified.verifier}
        show({**result, "purpose": verified.purpose, "attributes": verified.attributes}, as_json)


@zero_app.command()
def renew(
    identity: Annotated[str | None, typer.Option("--identity", help="The identity to renew.")] = None,
    secret: SecretFile = None,
    expires: Expires = "365d",
    out: Out = STREAM,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Extend an identity's expiry, counted from now; it must not have expired."""
    with exits(as_json):
        known = read_record(required(identity, "--identity", "Identity file"), Identity)
        holder = _open(required(secret, "--secret", "Secret file"), passphrase(passphrase_file))
        now = _now()
        renewed = identities.renew(known, holder, now, now + seconds(expires), os.urandom(32))
        _give(renewed, out, form, as_json)


@zero_app.command()
def revoke(
    secret: SecretFile = None,
    certificate: Annotated[
        str | None, typer.Option("--certificate", help="A revocation made in advance.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="unspecified, compromised, superseded or retired.")
    ] = "unspecified",
    registry: Annotated[str | None, typer.Option("--registry", help="Registry to add it to.")] = None,
    out: Out = STREAM,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Revoke an identity for good, with its secret or with a revocation made in advance."""
    with exits(as_json):
        if certificate is not None:
            made = read_record(certificate, Revocation)
        else:
            holder = _open(required(secret, "--secret", "Secret file"), passphrase(passphrase_file))
            made = revocations.revoke(holder, _now(), reason, os.urandom(32))
        revocations.check_revocation(made)
        if registry is None:
            _give(made, out, form, as_json)
            return
        append_revocation(registry, made)
        show({"id": identities.identity_id(made.public), "revoked": True, "registry": registry}, as_json)


@zero_app.command("agent")
def run_agent(
    socket: Annotated[str, typer.Option("--socket", envvar="WATCHWORD_ZERO_AGENT", help="Where to listen.")],
    secret: Annotated[list[str], typer.Option("--secret", help="Secret file to hold.")],
    verifier: Annotated[
        list[str] | None, typer.Option("--verifier", help="Serve only this verifier.")
    ] = None,
    lifetime: Annotated[str, typer.Option("--lifetime", help="When to forget everything.")] = "8h",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Hold secrets in memory and answer challenges over a UNIX socket, until the lifetime is over."""
    with exits(as_json):
        ends = _now() + seconds(lifetime)
        word = passphrase(passphrase_file)
        held = [_open(path, word) for path in secret]
        holder = agents.Agent(
            held, clock=_now, randomness=os.urandom, deadline=ends, verifiers=verifier or ()
        )
        with agents.listen(socket) as listener:
            show({"socket": socket, "identities": len(held)}, as_json)
            try:
                holder.serve(listener)
            finally:
                os.unlink(socket)


def _now() -> int:
    return int(time.time())


def _attributes(texts: list[str]) -> dict[str, Value | object]:
    attributes: dict[str, Value | object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name.removesuffix(":") in attributes:
            raise typer.BadParameter(f"{text}: an attribute is NAME=TEXT or NAME:=JSON, each name once")
        attributes[name.removesuffix(":")] = parse_json(value) if name.endswith(":") else value
    return attributes


def _open(path: str, word: str) -> Secret:
    sealed = read_sealed(path)
    with named(path):
        return unseal(sealed, word)


def _save_secret(path: str, secret: Secret, word: str) -> None:
    write_record(path, seal(secret, word, os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)), "text")


def _revoked(registry: str | None) -> frozenset[bytes]:
    return frozenset() if registry is None else read_revocations(registry)


def _give(record: Record, out: str, form: Format, as_json: bool) -> None:
    """Write the record where it is wanted; when that is a file, say so on standard output."""
    write_record(out, record, "json" if as_json and out == STREAM else form)
    if out != STREAM:
        show({"file": out, **describe(record)}, as_json)
