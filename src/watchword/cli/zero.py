"""`watchword zero …` with a server: register an identity, sign in or get a token with it, submit a renewal or revocation."""

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database
from watchword.client.addresses import origin_of
from watchword.client.deadline import FRESH, Deadline
from watchword.client.errors import WrongAddress
from watchword.client.proofs import Clocks, Prover
from watchword.client.server import MAX_ANSWER, NO_ANSWER, PATIENCE
from watchword.credentials.zkproof import ZeroError
from watchword.flows import api_tokens, identities
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_changes
from watchword.http_clients import ACCEPTED, is_readable, unusable_environment_as
from watchword.jose import JoseError, jwk
from watchword.jose.jwk import Key
from watchword.oauth.errors import OAuthError
from watchword.store.identities import RegisteredIdentity
from watchword.zero import files
from watchword.zero.client import CLIENT_ASSERTION_TYPE, Holder
from watchword.zero.commands import zero_app
from watchword.zero.identity import identity_id as identity_id_of
from watchword.zero.options import (
    AgentSocket,
    DeriveFor,
    IdentityId,
    Json,
    PassphraseFile,
    SecretFile,
    in_a_file,
)
from watchword.zero.proof import dpop_channel
from watchword.zero.records import (
    Challenge,
    Identity,
    Proof,
    Revocation,
    Secret,
    from_json,
    parse_json,
    to_json,
)
from watchword.zero.sealing import unseal
from watchword.zero.terminal import exits, one_holder, passphrase, secret_path, show

app: typer.Typer = zero_app

GRANT_TYPE = "urn:watchword:params:oauth:grant-type:zero-proof"
TIMEOUT = 15.0


Server = Annotated[str, typer.Argument(help="The server's address, such as https://auth.example.com.")]


@zero_app.command()
def register(
    identity: Annotated[str, typer.Argument(help="The public identity's file, - for standard input.")],
    owner: Annotated[
        str, typer.Option(help="User name, verified address or client identifier that it belongs to.")
    ],
    name: Annotated[str, typer.Option(help="A name by which the owner recognises it.")] = "command line",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Register an identity for a user or client of the server on this machine."""
    with exits(as_json):
        document = files.read_record(identity, Identity)

        async def work(runtime: Runtime) -> RegisteredIdentity:
            kind, owner_id = await api_tokens.resolve_owner(runtime, owner)
            if kind == "application":
                raise OAuthError("invalid_request", "There is no such user or client.", field="owner")
            holder = (kind, owner_id)
            within = await identities.telling(runtime, holder, account_changes.UNTOLD, "identity_added")
            return await identities.register(
                within, document, owner=holder, name=name, actor=ACTOR, given=None
            )

        registered = session.run(work, database=database, config=config, as_json=as_json)
        if as_json:
            session.print_json(
                {"id": registered.id, "owner": registered.owner_id, "expires_at": registered.expires_at}
            )
        else:
            session.out.print(f"registered {registered.id} for {registered.owner_id}", markup=False)


@zero_app.command("sign-in")
def sign_in(
    server: Server,
    secret: SecretFile = None,
    agent: AgentSocket = None,
    identity_id: IdentityId = None,
    derive_for: DeriveFor = None,
    passphrase_file: PassphraseFile = None,
    client_id: Annotated[
        str | None, typer.Option(help="Client that gets an access token, instead of a session.")
    ] = None,
    as_client: Annotated[
        bool,
        typer.Option("--as-client", help="The identity is the client's own: client credentials by proof."),
    ] = False,
    scope: Annotated[str, typer.Option(help="Scopes to ask for.")] = "",
    dpop_key: Annotated[
        str,
        typer.Option(
            callback=in_a_file, help="File of the key that the token is bound to; created if missing."
        ),
    ] = "dpop-key.json",
    as_json: Json = False,
) -> None:
    """Sign in to a server with an identity, in one step: challenge, proof, and a session or a token bound to a key."""
    with exits(as_json):
        one_holder(secret, identity_id)
        if client_id is None and (as_client or scope):
            raise typer.BadParameter("--scope and --as-client are about a token: give --client-id as well.")
        opened = None
        if secret is not None or agent is None:
            opened = _open(secret_path(secret), passphrase_file)
        holder = Holder(opened, agent, identity_id, derive_for)
        with _client(server) as http:
            if client_id is None:
                answer = _session(http, holder)
            else:
                answer = _token(http, holder, client_id, as_client, scope, _key(Path(dpop_key)))
        if as_json:
            session.print_json(answer)
            return
        session.print_fields(list(answer.items()))


@zero_app.command()
def submit(
    server: Server,
    file: Annotated[str, typer.Argument(help="A renewed identity, or a revocation; - for standard input.")],
    as_json: Json = False,
) -> None:
    """Submit a renewed identity or a revocation to a server where the identity is registered."""
    with exits(as_json):
        with files.named(file):
            record = files.load_any(files.read_bytes(file))
        if not isinstance(record, Identity | Revocation):
            raise ZeroError("malformed", f"{file}: neither an identity nor a revocation")
        with _client(server) as http:
            if isinstance(record, Identity):
                stored = _document(_post(http, "/zero/renew", json=to_json(record)))
                if stored.get("expires") != record.expires:
                    raise ZeroError("server", f"{server} did not confirm the renewal")
                done: dict[str, object] = {"expires": record.expires}
            else:
                _post(http, "/zero/revoke", expected=204, json=to_json(record))
                done = {"revoked": True}
        answer = {"id": identity_id_of(record.public), **done}
        if as_json:
            session.print_json(answer)
        else:
            show(answer, as_json)


def _open(path: str, passphrase_file: str | None) -> Secret:
    sealed = files.read_sealed(path)
    with files.named(path):
        return unseal(sealed, passphrase(passphrase_file))


def _client(server: str) -> httpx.Client:
    try:
        origin_of(server)
    except WrongAddress as error:
        raise ZeroError("server", str(error)) from None
    # Plain http is for this machine only, and never goes through a proxy of the environment, which would see proofs and tokens.
    with unusable_environment_as(partial(ZeroError, "server")):
        return httpx.Client(
            base_url=server.rstrip("/"),
            timeout=TIMEOUT,
            limits=FRESH,
            headers=ACCEPTED,
            mounts={"http://": None},
        )


def _prove(http: httpx.Client, holder: Holder, purpose: str, key: Key) -> Proof:
    given = _document(_post(http, "/zero/challenge", json={"purpose": purpose}))
    challenge = from_json(given, Challenge)
    if challenge.verifier != str(http.base_url).rstrip("/") or challenge.purpose != purpose:
        raise ZeroError("verifier", f"the challenge comes from {challenge.verifier}, for {challenge.purpose}")
    return holder.prove(challenge, dpop_channel(key.thumbprint))


def _post(http: httpx.Client, path: str, *, expected: int = 200, **content: Any) -> httpx.Response:
    """Send a request and return the answer with the expected status; raise ZeroError for any other, also for a redirection."""
    deadline = Deadline(PATIENCE)
    try:
        with deadline, http.stream("POST", path, **content, **deadline.sent) as streamed:
            body = _body(streamed)
            deadline.check()
            headers = [pair for pair in streamed.headers.multi_items() if pair[0] != "content-encoding"]
            answer = httpx.Response(
                streamed.status_code, headers=headers, content=body, request=streamed.request
            )
    except NO_ANSWER as error:
        if deadline.passed:
            raise ZeroError("server", f"the answer of {http.base_url}{path} takes too long") from None
        reason = str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__
        raise ZeroError("server", f"{http.base_url} does not answer ({reason})") from None
    if answer.status_code != expected:
        raise _refusal(answer)
    return answer


def _body(answer: httpx.Response) -> bytes:
    if not is_readable(answer.headers):
        raise ZeroError("server", f"{answer.url} answers compressed in a way that nobody asked for")
    body = b""
    for part in answer.iter_bytes():
        body += part
        if len(body) > MAX_ANSWER:
            raise ZeroError("server", f"the answer of {answer.url} is too long")
    return body


def _refusal(answer: httpx.Response) -> ZeroError:
    problem: dict[str, object] = {}
    if answer.status_code >= 400:
        with contextlib.suppress(ZeroError):
            problem = _document(answer)
    code, description = problem.get("error"), problem.get("error_description")
    if isinstance(code, str) and isinstance(description, str):
        return ZeroError(code, description)
    return ZeroError("server", f"{answer.url} answered {answer.status_code}, and not as this service does")


def _document(answer: httpx.Response) -> dict[str, object]:
    """Return the JSON object of an answer; raise ZeroError for anything else: another server may be at the address."""
    with contextlib.suppress(ZeroError):
        document = parse_json(answer.content)
        if isinstance(document, dict):
            return document
    raise ZeroError("server", f"{answer.url} does not answer as this service does")


def _session(http: httpx.Client, holder: Holder) -> dict[str, object]:
    key = jwk.generate("ES256")  # for this one request: a proof that is copied on its way is worthless
    proof = _prove(http, holder, identities.SIGN_IN, key)
    headers = {"dpop": _dpop(http, key, "/zero/sign-in")}
    answer = _post(http, "/zero/sign-in", json=to_json(proof), headers=headers)
    if "set-cookie" not in answer.headers:
        raise ZeroError("server", f"{answer.url} answered without a session")
    return _document(answer) | {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def _token(
    http: httpx.Client, holder: Holder, client_id: str, as_client: bool, scope: str, key: Key
) -> dict[str, object]:
    purpose = identities.CLIENT if as_client else identities.TOKEN
    proof = json.dumps(to_json(_prove(http, holder, purpose, key)))
    form = {"client_id": client_id} | ({"scope": scope} if scope else {})
    if as_client:
        form |= {
            "grant_type": "client_credentials",
            "client_assertion_type": CLIENT_ASSERTION_TYPE,
            "client_assertion": proof,
        }
    else:
        form |= {"grant_type": GRANT_TYPE, "proof": proof}
    headers = {"dpop": _dpop(http, key, "/token")}
    return _document(_post(http, "/token", data=form, headers=headers))


def _dpop(http: httpx.Client, key: Key, path: str) -> str:
    return Prover(key, Clocks()).proof("POST", str(http.base_url).rstrip("/") + path)


def _key(path: Path) -> Key:
    try:
        if path.exists():
            document = parse_json(files.read_private(str(path)))
            known = jwk.parse(document if isinstance(document, dict) else {}, "ES256")
            if known.private is None:
                raise ZeroError("dpop-key", "not a private key")
            return known
        key = jwk.generate("ES256")
        files.write_bytes(str(path), json.dumps(jwk.private_document(key)).encode(), private=True)
    except (OSError, JoseError, ValueError) as error:
        raise ZeroError("dpop-key", f"{path}: {error}") from None
    return key
