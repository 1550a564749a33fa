"""The steps of the playground: each is a request as an application would send it, its response, and both in readable form.

The rules of the real grants and endpoints apply. Only the client is not authenticated, since nobody has its secret.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from watchword import grants
from watchword.flows import caller, devices, introspection, playground, revocation, userinfo
from watchword.flows.acting import runtime_in
from watchword.flows.client_auth import ASSERTION_TYPE, ZERO_TYPE, Credentials
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.http import Request, Response, error_response, json_response
from watchword.http.forms import Form
from watchword.oauth.clients import DEVICE_CODE, Client
from watchword.oauth.errors import OAuthError
from watchword.store import tokens
from watchword.store.sessions import Session

# Of a credential that still works, a request shows only the beginning.
SECRET = frozenset({"code", "code_verifier", "refresh_token", "device_code", "token"})
SHOWN = 12
Pairs = tuple[tuple[str, str], ...]


class Exchange(msgspec.Struct, frozen=True):
    """A request and its answer: `headers` and `fields` are pairs of texts, `answer` is what it says where it is JSON."""

    method: str
    path: str
    headers: Pairs
    fields: Pairs
    status: int
    body: str
    answer: Mapping[str, object]

    @property
    def succeeded(self) -> bool:
        """Whether the answer is not an error."""
        return self.status < 400


class Asked(msgspec.Struct, frozen=True):
    """What a step is taken with: the form, the client, and the administrator's session."""

    request: Request
    form: Form
    client: Client
    session: Session

    @property
    def runtime(self) -> Runtime:
        """The runtime in which a step is taken: the audit trail names the session beside the client."""
        return runtime_in(self.request.runtime, self.session)

    def extent(self) -> dict[str, str]:
        """Return the scope and the resource that were chosen, where they were."""
        return {name: value for name in ("scope", "resource") if (value := self.form.get(name))}


async def _token(asked: Asked, fields: dict[str, str]) -> Exchange:
    return await _made(asked, "POST", "/token", fields, lambda: _granted(asked, fields))


async def _granted(asked: Asked, fields: dict[str, str]) -> Mapping[str, object]:
    form = Form(list(fields.items()))
    return await grants.respond(asked.runtime, asked.client, form, Credentials(), asked.request.has_left)


async def redeem(asked: Asked) -> Exchange:
    """Exchange a code (RFC 6749 §4.1.3)."""
    state, code = asked.form.get("state") or "", asked.form.get("code") or ""
    return await _token(asked, playground.redemption(asked.request.runtime, asked.session, state, code))


async def act(asked: Asked) -> Exchange:
    """Take a token for the client itself (RFC 6749 §4.4.2)."""
    fields = {"grant_type": "client_credentials", **asked.extent()}

    async def answer() -> Mapping[str, object]:
        told = await _granted(asked, fields)
        # The only record of it: nobody consents to such a token, and tokens that a client gets for itself are not audited.
        await asked.runtime.database.write(
            tokens.record_taken,
            asked.client.client_id,
            scope=str(told["scope"]),
            actor=asked.session.user_id,
            now=asked.runtime.now(),
        )
        return told

    return await _made(asked, "POST", "/token", fields, answer)


async def begin(asked: Asked) -> Exchange:
    """Begin as a device (RFC 8628 §3.1)."""
    request, fields = asked.request, asked.extent()

    async def answer() -> Mapping[str, object]:
        begun = await devices.begin(
            asked.runtime,
            asked.client,
            Form(list(fields.items())),
            jkt=None,
            address=request.address,
            user_agent=playground.NAME,
        )
        return devices.answer(asked.runtime, begun)

    return await _made(asked, "POST", "/device_authorization", fields, answer)


async def poll(asked: Asked) -> Exchange:
    """Ask as a device whether the person has agreed (RFC 8628 §3.4)."""
    return await _token(
        asked, {"grant_type": DEVICE_CODE, "device_code": asked.form.get("device_code") or ""}
    )


async def refresh(asked: Asked) -> Exchange:
    """Refresh (RFC 6749 §6)."""
    fields = {"grant_type": "refresh_token", "refresh_token": asked.form.get("refresh_token") or ""}
    return await _token(asked, fields)


async def introspect(asked: Asked) -> Exchange:
    """Introspect the access token, of which the client is told because it is its own (RFC 7662 §2.1)."""
    runtime, client = asked.runtime, asked.client
    fields = {"token": asked.form.get("access_token") or ""}

    async def answer() -> Mapping[str, object]:
        found = await introspection.introspect(runtime, fields["token"], Use())
        own = introspection.may_see(found, resources=(), client_id=client.client_id)
        return found.told() if own else introspection.INACTIVE

    return await _made(asked, "POST", "/introspect", fields, answer)


async def ask_userinfo(asked: Asked) -> Exchange:
    """Ask for the claims about the person (OpenID Connect Core §5.3.1)."""
    runtime, token = asked.runtime, asked.form.get("access_token") or ""

    async def answer() -> Mapping[str, object]:
        bearer = Credentials(f"Bearer {token}", address=asked.request.address, method="GET")
        who = await caller.authenticate(runtime, bearer, "/userinfo", any_audience=True)
        return (await userinfo.claims_for(runtime, who))[1]

    shown = (("Authorization", f"Bearer {token[:SHOWN]}…"),)
    return await _made(asked, "GET", "/userinfo", {}, answer, shown)


async def revoke(asked: Asked) -> Exchange:
    """Revoke the refresh token with its access, or the access token where there is none (RFC 7009 §2.1)."""
    token = asked.form.get("refresh_token") or asked.form.get("access_token") or ""

    async def answer() -> None:
        await revocation.revoke(asked.runtime, asked.client, token)

    return await _made(asked, "POST", "/revoke", {"token": token}, answer)


STEPS: Mapping[str, Callable[[Asked], Awaitable[Exchange]]] = {
    "redeem": redeem,
    "client_credentials": act,
    "device_code": begin,
    "poll": poll,
    "refresh": refresh,
    "introspect": introspect,
    "userinfo": ask_userinfo,
    "revoke": revoke,
}


async def _made(
    asked: Asked,
    method: str,
    path: str,
    fields: Mapping[str, str],
    answer: Callable[[], Awaitable[Mapping[str, object] | None]],
    authorization: Pairs | None = None,
) -> Exchange:
    response = await _response(asked.client, answer)
    body = response.body.decode()
    headers, more = _proof(asked.client) if authorization is None else (authorization, ())
    return Exchange(
        method,
        path,
        headers,
        (*more, *((name, _shown(name, value)) for name, value in fields.items())),
        response.status,
        msgspec.json.format(body, indent=2) if body else "",
        msgspec.json.decode(body, type=dict[str, object]) if body else {},
    )


def _proof(client: Client) -> tuple[Pairs, Pairs]:
    """Return the headers and the fields by which a client authenticates, without what is secret in them (RFC 6749 §2.3)."""
    method, named = client.token_endpoint_auth_method, ("client_id", client.client_id)
    if method == "client_secret_basic":
        return (("Authorization", "Basic …"),), ()
    if method == "client_secret_post":
        return (), (named, ("client_secret", "…"))
    if method == "private_key_jwt":
        return (), (("client_assertion_type", ASSERTION_TYPE), ("client_assertion", "…"))
    if method == "zero_proof":
        return (("DPoP", "…"),), (named, ("client_assertion_type", ZERO_TYPE), ("client_assertion", "…"))
    return (), (named,)


async def _response(client: Client, answer: Callable[[], Awaitable[Mapping[str, object] | None]]) -> Response:
    try:
        if client.disabled_at is not None:  # what its authentication would say
            raise OAuthError("invalid_client", "The client is switched off.")
        told = await answer()
    except OAuthError as error:
        return error_response(error)
    return Response(200, b"") if told is None else json_response(200, told)


def _shown(name: str, value: str) -> str:
    return f"{value[:SHOWN]}…" if name in SECRET else value
