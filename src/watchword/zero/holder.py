"""docs/zero.md §9: what a holder does: create, derive, prove, renew, revoke, and hold secrets in an agent."""

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.zero import agent as agents
from watchword.zero import credentials, presentation
from watchword.zero import identity as identities
from watchword.zero import revocation as revocations
from watchword.zero.derivation import derive as derive_secret
from watchword.zero.disclosure import Value, check_name, check_value, pack_attributes, select
from watchword.zero.files import STREAM, append_revocation, named, read_record, read_sealed, write_record
from watchword.zero.options import (
    AgentSocket,
    Attributes,
    Channel,
    DeriveFor,
    Expires,
    Form,
    IdentityId,
    Json,
    Out,
    PassphraseFile,
    ProofFormat,
    Purpose,
    SecretFile,
    Verifier,
    in_a_file,
)
from watchword.zero.records import Challenge, Identity, Proof, Revocation, Secret, parse_json
from watchword.zero.sealing import NONCE_SIZE, SALT_SIZE, seal, unseal
from watchword.zero.terminal import (
    apart,
    channel_bytes,
    exits,
    give,
    now_seconds,
    one_holder,
    one_stream,
    passphrase,
    put,
    required,
    seconds,
    secret_path,
    show,
    tell,
)

_DAY = 86400


def create(
    secret: SecretFile = None,
    out: Out = STREAM,
    attribute: Attributes = None,
    expires: Expires = "365d",
    revocation: Annotated[
        str | None,
        typer.Option(
            "--revocation", callback=in_a_file, help="Also write a revocation for later; keep it elsewhere."
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Create an identity: an encrypted secret file and a public document."""
    with exits(as_json):
        path = secret_path(secret, "File for the secret")
        apart(path, revocation, out, passphrase_file)
        new = Secret(os.urandom(32), pack_attributes(_attributes(attribute or [])))
        now = now_seconds()
        identity = identities.create(new, now, now + seconds(expires), os.urandom(32))
        with _saved(path, new, passphrase(passphrase_file, confirm=True)), contextlib.ExitStack() as written:
            if revocation is not None:
                made = revocations.revoke(new, now, "unspecified", os.urandom(32))
                write_record(revocation, made, "text", private=True)  # whoever has it can revoke
                written.enter_context(_undone(revocation))
            put(identity, out, form, as_json)
        tell(identity, out, as_json)


def derive(
    secret: SecretFile = None,
    verifier: Verifier = None,
    purpose: Purpose = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="Attribute to carry over; by default none.")
    ] = None,
    new_secret: Annotated[
        str | None, typer.Option("--new-secret", callback=in_a_file, help="Also write the derived secret.")
    ] = None,
    expires: Expires = "365d",
    out: Out = STREAM,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Derive the identity for one verifier and purpose; its dates are whole days, so that they cannot link it to others."""
    with exits(as_json):
        path = secret_path(secret)
        apart(path, new_secret, out, passphrase_file)
        for_whom = required(verifier, "--verifier", "Verifier")
        for_what = required(purpose, "--purpose", "Purpose")
        word = passphrase(passphrase_file)
        parent = _open(path, word)
        child = derive_secret(parent, for_whom, for_what, select(parent, keep or []))
        now = now_seconds()
        ends = -(-(now + seconds(expires)) // _DAY)  # rounded up: it lasts as long as was asked
        identity = identities.create(child, now // _DAY * _DAY, ends * _DAY, os.urandom(32))
        with _saved(new_secret, child, word) if new_secret is not None else contextlib.nullcontext():
            put(identity, out, form, as_json)
        tell(identity, out, as_json)


def prove(
    challenge: Annotated[
        str | None, typer.Option("--challenge", help="The challenge, - for standard input.")
    ] = None,
    secret: SecretFile = None,
    agent: AgentSocket = None,
    identity_id: IdentityId = None,
    verifier: Verifier = None,
    purpose: Purpose = None,
    channel: Channel = None,
    disclose: Annotated[list[str] | None, typer.Option("--disclose", help="Attribute to disclose.")] = None,
    derive_for: DeriveFor = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="Credential signed by an issuer, to present as SD-JWT.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    out: Out = STREAM,
    form: Annotated[ProofFormat, typer.Option("--format", help="text, json, binary or sd-jwt.")] = "text",
    as_json: Json = False,
) -> None:
    """Answer a challenge. You name the verifier, so a challenge relayed from elsewhere is refused."""
    with exits(as_json):
        one_holder(secret, identity_id)
        apart(secret, out, passphrase_file)
        one_stream(challenge, credential)
        if credential is not None and form in ("json", "binary"):
            raise typer.BadParameter("A credential is shown as SD-JWT: leave out --format or --credential.")
        asked = read_record(required(challenge, "--challenge", "Challenge file"), Challenge)
        if asked.verifier != required(verifier, "--verifier", "Who are you proving it to"):
            raise ZeroError("verifier", f"the challenge comes from {asked.verifier}")
        if purpose is not None and asked.purpose != purpose:
            raise ZeroError("purpose", f"the challenge is for {asked.purpose}")
        order = agents.Order(asked, channel_bytes(channel), tuple(disclose or ()), derive_for)
        if form != "sd-jwt" and credential is None:
            made = _fulfil(order, secret, agent, identity_id, passphrase_file)
            give(made, out, form, as_json)
            return
        holder = _open(secret_path(secret), passphrase(passphrase_file))
        shown = presentation.answer(
            agents.acting(holder, order),
            asked,
            channel=order.channel,
            disclose=order.disclose,
            now=now_seconds(),
            credential=None if credential is None else credentials.read(credential),
        )
        credentials.give(shown, out, as_json)


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
        apart(secret, out, passphrase_file)
        known = read_record(required(identity, "--identity", "Identity file"), Identity)
        holder = _open(secret_path(secret), passphrase(passphrase_file))
        now = now_seconds()
        renewed = identities.renew(known, holder, now, now + seconds(expires), os.urandom(32))
        give(renewed, out, form, as_json)


def revoke(
    secret: SecretFile = None,
    certificate: Annotated[
        str | None, typer.Option("--certificate", help="A revocation made in advance.")
    ] = None,
    reason: Annotated[
        Literal["unspecified", "compromised", "superseded", "retired"] | None,
        typer.Option("--reason", help="unspecified (the default), compromised, superseded or retired."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", callback=in_a_file, help="Registry to add it to.")
    ] = None,
    out: Out = STREAM,
    passphrase_file: PassphraseFile = None,
    form: Form = "text",
    as_json: Json = False,
) -> None:
    """Revoke an identity for good, with its secret or with a revocation made in advance."""
    with exits(as_json):
        apart(secret, registry, out, passphrase_file)
        apart(certificate, registry)
        if certificate is not None and (secret, reason) != (None, None):
            raise typer.BadParameter("--certificate has its reason already: leave out --secret and --reason.")
        if certificate is not None:
            made = read_record(certificate, Revocation)
        else:
            holder = _open(secret_path(secret), passphrase(passphrase_file))
            made = revocations.revoke(holder, now_seconds(), reason or "unspecified", os.urandom(32))
        revocations.check_revocation(made)
        if registry is None:
            give(made, out, form, as_json)
            return
        said = {"id": identities.identity_id(made.public), "revoked": True, "registry": registry}
        if out != STREAM:
            write_record(out, made, form)
            said |= {"file": out}
        append_revocation(registry, made)
        show(said, as_json)


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
        ends = now_seconds() + seconds(lifetime)
        word = passphrase(passphrase_file)
        held = [_open(path, word) for path in secret]
        holder = agents.Agent(
            held, clock=now_seconds, randomness=os.urandom, deadline=ends, verifiers=verifier or ()
        )
        with agents.listening(socket) as listener:
            show({"socket": socket, "identities": len(held)}, as_json)
            holder.serve(listener)


def _fulfil(
    order: agents.Order,
    secret: str | None,
    agent: str | None,
    identity_id: str | None,
    passphrase_file: str | None,
) -> Proof:
    if secret is None and agent is not None:
        return agents.ask_proof(agent, order, identity_id)
    holder = _open(secret_path(secret), passphrase(passphrase_file))
    return agents.fulfil(holder, order, now_seconds(), os.urandom(32))


def _attributes(texts: list[str]) -> dict[str, Value]:
    attributes: dict[str, Value] = {}
    for text in texts:
        given, equals, value = text.partition("=")
        name = given.removesuffix(":")
        if not equals or name in attributes:
            raise typer.BadParameter(f"{text}: an attribute is NAME=TEXT or NAME:=JSON, each name once")
        try:
            attributes[check_name(name)] = check_value(parse_json(value) if given.endswith(":") else value)
        except ZeroError as error:
            raise ZeroError(error.reason, f"{name}: {error}") from None
    return attributes


def _open(path: str, word: str) -> Secret:
    sealed = read_sealed(path)
    with named(path):
        return unseal(sealed, word)


@contextlib.contextmanager
def _saved(path: str, secret: Secret, word: str) -> Iterator[None]:
    """Write a secret file; remove it again if the block cannot write what belongs to it."""
    write_record(path, seal(secret, word, os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)), "text")
    with _undone(path):
        yield


@contextlib.contextmanager
def _undone(path: str) -> Iterator[None]:
    """Remove a new file again if the block cannot write what belongs to it."""
    try:
        yield
    except (ZeroError, OSError):  # OSError: from standard output
        os.unlink(path)  # its identity was never given out, and the file would block the next attempt
        raise
