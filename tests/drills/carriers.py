"""Every place that takes a signed token, with what it says there when it is honest (F-15); all of them are signed by one key."""

from collections.abc import Callable
from typing import Any

from tests.attacks.proofs import proof
from tests.fixtures.code_flow import REDIRECT, request
from tests.fixtures.documents import Documents
from tests.fixtures.servers import Server
from tests.flows.test_client_credentials import ASSERTION

from watchword.flows.clients.client_registry import Registered
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.jose import jwk
from watchword.oauth import pkce

KEY = jwk.generate("ES256")
OUTSIDE = "https://ci.example"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"

Send = Callable[[str], Any]
Carrier = Callable[[Server, Documents], Any]


async def signing(server: Server) -> Registered:
    """Register a client that proves itself by its key, for everything."""
    return await server.client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk.public_document(KEY)]}, redirect_uris=[REDIRECT],
        grant_types=["authorization_code", "client_credentials", "device_code"], scope="openid orders:read introspect",
    )  # fmt: skip


def times(server: Server) -> dict[str, object]:
    """Return the times of something signed now."""
    now = int(server.clock())
    return {"iat": now, "nbf": now, "exp": now + 60}


def client_assertion(path: str, **form: str) -> Carrier:
    """A client's assertion at one of the addresses that take them (RFC 7523)."""

    async def carrier(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
        named = (await signing(server)).client.client_id
        claims = {"iss": named, "sub": named, "aud": server.settings.issuer, "jti": "once"} | times(server)

        def send(token: str) -> Any:
            given = {"client_assertion_type": ASSERTION, "client_assertion": token} | form
            return server.http.post(path, data=given)

        return claims, "JWT", send

    return carrier


async def request_object(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
    """A signed authorization request (RFC 9101), brought by a browser."""
    client = await server.client(
        jwks={"keys": [jwk.public_document(KEY)]},
        redirect_uris=[REDIRECT],
        scope="openid",
        grant_types=["authorization_code"],
    )
    named = client.client.client_id
    claims = {"iss": named, "aud": server.settings.issuer} | times(server) | request(client, scope="openid")
    claims |= {
        "claims": "{}",
        "max_age": "5",
        "ui_locales": "en",
        "login_hint": "ada",
    }
    return (
        claims,
        "oauth-authz-req+jwt",
        lambda token: server.http.get("/authorize", params={"client_id": named, "request": token}),
    )


async def pushed_object(server: Server, documents: Documents) -> tuple[dict[str, object], str, Send]:
    """The same, pushed."""
    claims, typ, _ = await request_object(server, documents)
    client = await server.client(
        redirect_uris=[REDIRECT],
        jwks={"keys": [jwk.public_document(KEY)]},
        scope="openid",
        grant_types=["authorization_code"],
    )
    claims |= {"iss": client.client.client_id, "client_id": client.client.client_id}
    return claims, typ, lambda token: server.post("/par", client, request=token)


async def outside(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
    """An assertion of an issuer that an administrator trusts (RFC 7523 §3.1)."""
    client = await server.client(grant_types=["jwt_bearer"])
    await trust(server)
    return (
        _said(server),
        "JWT",
        lambda token: server.post("/token", client, grant_type=BEARER, assertion=token),
    )


async def exchanged(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
    """A token of such an issuer, exchanged (RFC 8693)."""
    client = await server.client(grant_types=["token_exchange"])
    await trust(server)
    form = {"grant_type": EXCHANGE, "subject_token_type": JWT_TYPE}
    return (
        _said(server),
        "JWT",
        lambda token: server.post("/token", client, **form, subject_token=token, scope="orders:read"),
    )


def _said(server: Server) -> dict[str, object]:
    return {
        "iss": OUTSIDE,
        "sub": "a job",
        "aud": server.settings.issuer,
        "jti": "once",
        "ref": "main",
    } | times(server)


async def trust(server: Server) -> None:
    """Trust an issuer by its key."""
    wanted = TrustInput(
        name="ci", issuer=OUTSIDE, scope="orders:read", subject="ci:{ref}", claims={"ref": "main"},
        jwks={"keys": [jwk.public_document(KEY)]},
    )  # fmt: skip
    await trust_rules.create(server.runtime, wanted, actor="test")


async def logout_token(server: Server, documents: Documents) -> tuple[dict[str, object], str, Send]:
    """A provider's word that a session there has ended (Back-Channel Logout §2.6)."""
    event: dict[str, object] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    claims = {
        "iss": documents.base,
        "aud": "us",
        "sub": "a",
        "sid": "s",
        "jti": "once",
        "events": event,
    } | times(server)
    return (
        claims,
        "logout+jwt",
        lambda token: server.http.post("/upstream/hub/backchannel-logout", data={"logout_token": token}),
    )


def possession(path: str) -> Carrier:
    """A proof of possession, which anybody can sign (RFC 9449)."""

    async def carrier(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
        client = await server.client()
        claims: dict[str, object] = {
            "jti": "once", "htm": "POST", "htu": server.settings.issuer + path, "ath": "x", "nonce": "x", "iat": int(server.clock()),
        }  # fmt: skip
        assert (
            await server.http.post("/token", headers=proof(server, KEY, "/token"), data={})
        ).status_code in (400, 401)

        def send(token: str) -> Any:
            headers = {"dpop": token, "authorization": "DPoP x"} if path == "/userinfo" else {"dpop": token}
            form = {"grant_type": "client_credentials"}
            if path == "/userinfo":
                return server.http.post(path, headers=headers)
            auth = (client.client.client_id, client.client_secret or "")
            return server.http.post(path, data=form, headers=headers, auth=auth)

        return claims, "dpop+jwt", send

    return carrier


def own(place: str) -> Carrier:
    """Something that only this server signs, forged."""

    async def carrier(server: Server, _: Documents) -> tuple[dict[str, object], str, Send]:
        client = await server.client(scope="openid introspect orders:read", redirect_uris=[REDIRECT])
        claims = {
            "iss": server.settings.issuer,
            "aud": client.client.client_id,
            "sub": "x",
            "sid": "x",
            "jti": "x",
        } | times(server)
        named = {"client_id": client.client.client_id}
        challenge = {"code_challenge": pkce.challenge_of("a" * 43), "code_challenge_method": "S256"}
        sends: dict[str, Send] = {
            "userinfo": lambda token: server.http.get("/userinfo", headers={"authorization": f"Bearer {token}"}),
            "admin API": lambda token: server.http.get("/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"}),
            "introspect": lambda token: server.post("/introspect", client, token=token),
            "revoke": lambda token: server.post("/revoke", client, token=token),
            "exposed": lambda token: server.http.post("/exposed", headers={"authorization": f"Bearer {token}"}),
            "logout": lambda token: server.http.get("/logout", params={"id_token_hint": token}),
            "hint": lambda token: server.http.get("/authorize", params=request(client) | challenge | named | {"id_token_hint": token}),
        }  # fmt: skip
        return claims, "at+jwt", sends[place]

    return carrier


CARRIERS: dict[str, Carrier] = {
    "a client's assertion at /token": client_assertion("/token", grant_type="client_credentials"),
    "a client's assertion at /introspect": client_assertion("/introspect", token="x"),
    "a client's assertion at /device_authorization": client_assertion("/device_authorization"),
    "a request object": request_object,
    "a pushed request object": pushed_object,
    "an assertion of a trusted issuer": outside,
    "a token to be exchanged": exchanged,
    "a logout token of a provider": logout_token,
    "a proof of possession at /token": possession("/token"),
    "a proof of possession at /userinfo": possession("/userinfo"),
    **{f"a forged token at {place}": own(place) for place in (
        "userinfo", "admin API", "introspect", "revoke", "exposed", "logout", "hint")},
}  # fmt: skip
# Where the honest variant succeeds, it does so before anything else is tried.
SUCCEED = (
    "a client's",
    "a request",
    "a pushed",
    "an assertion",
    "a logout token",
    "a proof of possession at /token",
)
