"""`watchword login`, `logout`, `token print`: signing in at any authorization server, and a fresh token for scripts.

These three do not touch this server's database: they are a client of an authorization server, ours or another.
"""

import contextlib
import time
from typing import Annotated, NoReturn

import typer

from watchword.cli import session
from watchword.cli.session import Json, SignIn
from watchword.client import logins, sign_in
from watchword.client.callback import DEFAULT
from watchword.client.errors import ClientError, NoKeyring, Refused
from watchword.client.identity import PublicClient
from watchword.client.logins import Login
from watchword.client.proofs import Clocks, Prover
from watchword.client.server import AuthorizationServer, Document
from watchword.client.sign_in import Wanted
from watchword.client.source import record_of
from watchword.client.store import Record
from watchword.extras import NotInstalled
from watchword.jose import jwk

UNAVAILABLE = (ClientError, OSError, NotInstalled)  # the last is the package of the key ring


def login(
    issuer: Annotated[
        str, typer.Argument(help="The authorization server, such as https://auth.example.com.")
    ],
    client_id: Annotated[
        str, typer.Option(envvar="WATCHWORD_CLIENT_ID", help="A public client registered there.")
    ],
    scope: Annotated[
        str, typer.Option(help="Scopes, separated by spaces (default: what the server gives this client).")
    ] = "",
    resource: Annotated[str, typer.Option(help="The API that the tokens are for.")] = "",
    device: Annotated[bool, typer.Option("--device", help="Sign in on another device.")] = False,
    dpop: Annotated[
        bool, typer.Option("--dpop", help="Bind the tokens to a key that is stored with them.")
    ] = False,
    redirect_uri: Annotated[
        str,
        typer.Option(help="The loopback redirect URI registered there; without a port, any port is used."),
    ] = DEFAULT,
    name: Annotated[str | None, typer.Option(help="Name of the sign-in (default: the server's).")] = None,
    file_store: Annotated[
        bool,
        typer.Option(
            "--file-store", help="Keep secrets in a file that only you can read, not in the keyring."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Sign in at an authorization server, in a browser or on another device, and stay signed in."""
    made = Login(
        name=name or issuer.partition("://")[2],
        issuer=issuer,
        client_id=client_id,
        scope=scope,
        resource=resource,
        dpop=dpop,
        kept_in="file" if file_store else "keyring",
        since=int(time.time()),
    )
    try:
        expires_at = _sign_in(made, device, redirect_uri)
    except Refused as refused:
        said = refused.description or "The server refused."
        if refused.code == "invalid_client":
            said += f" {client_id!r} has to be registered there as a public client."
        session.refuse(refused.code, said, as_json)
    except UNAVAILABLE as error:
        session.refuse("unavailable", _hint(error), as_json)
    except ValueError as error:
        session.usage(str(error))
    document = {"name": made.name, "issuer": issuer, "client_id": client_id, "expires_at": expires_at}
    if as_json:
        session.print_json({**document, "kept_in": made.kept_in})
    else:
        session.out.print(
            f"Signed in at {made.name}. `watchword token print` prints a token for scripts.", markup=False
        )


def _hint(error: Exception) -> str:
    if not isinstance(error, NotInstalled | NoKeyring):
        return str(error)
    joint = "; or" if isinstance(error, NotInstalled) else ":"
    return f"{error}{joint} use --file-store to keep the secrets in a file that only you can read ({logins.folder()})"


def _sign_in(login: Login, device: bool, redirect_uri: str) -> int | None:
    store = logins.store_of(login)
    with store.lock():
        store.load()  # so that a key ring that cannot be opened is noticed before anybody signs in
    clocks = Clocks()
    server = AuthorizationServer(login.issuer, clocks)
    prover = Prover(jwk.generate("ES256"), clocks) if login.dpop else None
    wanted = Wanted(PublicClient(login.client_id), login.scope, login.resource)
    asked_at = clocks()
    answer = _answer(server, wanted, prover, device, redirect_uri)
    record = record_of(logins.source_of(login).owner, answer, min(asked_at, clocks()), prover)
    with store.lock():
        store.save(record)
    try:
        logins.save(login)
    except OSError:
        # No logout would find the secret; it is not revoked, which might end sign-ins on other machines.
        with contextlib.suppress(ClientError, OSError), store.lock():
            store.save(None)
        raise
    return None if record.expires_at is None else int(record.expires_at)


def _answer(
    server: AuthorizationServer, wanted: Wanted, prover: Prover | None, device: bool, redirect_uri: str
) -> Document:
    can_device = "device_authorization_endpoint" in server.metadata()
    if device or (can_device and not sign_in.has_browser()):
        return sign_in.by_device(server, wanted, prover, show=_show_code)
    return sign_in.by_browser(server, wanted, prover, redirect_uri=redirect_uri, show=_show_address)


def _show_address(address: str) -> None:
    session.err.print("Sign in with your browser. If it does not open, go to:")
    session.err.print(f"  {address}", markup=False)


def _show_code(address: str, code: str) -> None:
    session.err.print(f"On any device, open {address}\nand type the code {code}", markup=False)


def print_token(name: str | None, as_json: bool) -> None:
    """Print a valid access token from a sign-in, for scripts."""
    try:
        found = logins.find(name)
        record = logins.source_of(found).record()
    except Refused as refused:
        session.refuse(refused.code, refused.description or "The server refused.", as_json)
    except UNAVAILABLE as error:
        _refuse(error, as_json)
    if as_json:
        expires_at = None if record.expires_at is None else int(record.expires_at)
        shown = {"access_token": record.access_token, "token_type": record.token_type}
        session.print_json({**shown, "expires_at": expires_at, "scope": record.scope, "issuer": found.issuer})
    else:
        session.print_text(record.access_token + "\n")


def _refuse(error: Exception, as_json: bool) -> NoReturn:
    code = "not_signed_in" if isinstance(error, logins.NotSignedIn) else "unavailable"
    session.refuse(code, str(error), as_json)


def logout(name: SignIn = None, as_json: Json = False) -> None:
    """Sign out: revoke the tokens at the server and delete them here."""
    try:
        found = logins.find(name)
        with logins.forgetting(found) as record:
            problem = _revoke(found, record)
    except UNAVAILABLE as error:
        _refuse(error, as_json)
    if problem:
        session.refuse("unavailable", f"Deleted here, but not revoked at the server: {problem}", as_json)
    if as_json:
        session.print_json({"name": found.name, "revoked": True})
    else:
        session.out.print(f"Signed out at {found.name}.", markup=False)


def _revoke(login: Login, record: Record | None) -> str:
    token = record and (record.refresh_token or record.access_token)
    if not token:
        return ""
    server = AuthorizationServer(login.issuer, Clocks())
    try:
        server.ask("revocation_endpoint", {"token": token}, PublicClient(login.client_id))
    except ClientError as error:
        return str(error)
    return ""
