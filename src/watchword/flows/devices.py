"""RFC 8628: the device flow: a device asks, and a person answers in a browser elsewhere.

Owns the creation of both codes, the throttling of guesses (§5.1) and what an approval grants. Only the person who entered the code may
decide, in the browser where they entered it. Scopes over this server itself are never granted to a device: codes can be relayed, and
somebody who is tricked into entering one must not give away the server (§5.4).
"""

import hashlib
import hmac
import os

import msgspec

from watchword.flows import detail_types, membership
from watchword.flows.authorization import browser_digest
from watchword.flows.clients import client_registry
from watchword.flows.identifiers import new_id
from watchword.flows.issuing import Extent
from watchword.flows.runtime import Runtime
from watchword.flows.sessions import sign_in_claims
from watchword.flows.throttle import network, take
from watchword.oauth import device, token_format
from watchword.oauth.authorization_details import parse
from watchword.oauth.clients import DEVICE_CODE, Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.oauth.scopes import for_people, narrow, parse_scope
from watchword.oauth.targets import resolve_audience
from watchword.store import devices as store
from watchword.store import users
from watchword.store.devices import DeviceCode
from watchword.store.grants import Grant
from watchword.store.sessions import Session

MAX_USER_AGENT = 200
ATTEMPTS = 3
# Entered codes. By person: ten at once, then one a minute. By address: thirty at once, then one every ten seconds (§5.1, LG-06).
PERSON_CAPACITY, PERSON_PER_SECOND = 10.0, 1 / 60
ADDRESS_CAPACITY, ADDRESS_PER_SECOND = 30.0, 0.1

_encode = msgspec.json.Encoder().encode


class Begun(msgspec.Struct, frozen=True):
    """The two codes of a device authorization response (§3.2)."""

    device_code: str
    user_code: str


class Entered(msgspec.Struct, frozen=True):
    """A code that a person entered, and its client."""

    user_code: str
    code: DeviceCode
    client: Client

    @property
    def is_approved(self) -> bool:
        """Whether the person approved, and the device may have its tokens already."""
        return self.code.status in ("approved", "redeemed")

    @property
    def is_denied(self) -> bool:
        """Whether the person denied."""
        return self.code.status == "denied"


def _keyed(runtime: Runtime, user_code: str) -> bytes:
    # 34 bits could be brute-forced from a plain hash; with the key, a stolen database reveals no user codes.
    return hmac.new(runtime.root.derive("user code"), user_code.encode(), hashlib.sha256).digest()


def decide(runtime: Runtime, form: Parameters, client: Client) -> Extent:
    """Return what a device may ask a person for; raise OAuthError (§3.1)."""
    if not client.may(DEVICE_CODE):
        raise OAuthError("unauthorized_client", "The client is not registered for this grant type.")
    scope, text = parse_scope(form.get("scope") or ""), form.get("authorization_details")
    if scope or text is None:  # RFC 9396 §3.1: no default scope for a request with authorization_details
        scope = narrow(scope, for_people(client.scope))
    audience = resolve_audience(form.all("resource"), client.resources, runtime.settings.resource)
    if text is None:
        return Extent(scope, audience)
    types = detail_types.of(runtime.settings)
    return Extent(scope, audience, parse(text, types, client.authorization_details_types))


async def begin(
    runtime: Runtime, client: Client, form: Parameters, *, jkt: str | None, address: str, user_agent: str
) -> Begun:
    """Create a device code and its user code; raise as `decide`, or `temporarily_unavailable` when no user code is free."""
    asked = decide(runtime, form, client)
    settings, now = runtime.settings, runtime.now()
    code = DeviceCode(
        client_id=client.client_id,
        scope=" ".join(asked.scope),
        audience=" ".join(asked.audience),
        authorization_details=detail_types.stored(asked.details),
        jkt=jkt,
        address=address,
        user_agent=_readable(user_agent),
        created_at=now,
        expires_at=now + settings.device_code_lifetime,
        poll_interval=settings.device_poll_interval,
    )
    for _ in range(ATTEMPTS):
        device_code = runtime.new_secret("d")
        user_code = device.make_user_code(os.urandom(device.ENTROPY_BYTES))
        digest = token_format.digest(device_code)
        keyed = _keyed(runtime, user_code)
        if await runtime.database.write(store.create_device_code, code, digest=digest, user_code=keyed):
            return Begun(device_code, user_code)
    raise OAuthError("temporarily_unavailable", "No user code is free; try again.", retry_after=5)


def answer(runtime: Runtime, begun: Begun) -> dict[str, object]:
    """Return the device authorization response (§3.2)."""
    shown = device.format_user_code(begun.user_code)
    page = f"{runtime.settings.issuer}/device"
    return {
        "device_code": begun.device_code,
        "user_code": shown,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={shown}",  # §3.3.1: fills the form in, decides nothing
        "expires_in": runtime.settings.device_code_lifetime,
        "interval": runtime.settings.device_poll_interval,
    }


def _readable(user_agent: str) -> str:
    return "".join(character for character in user_agent if character.isprintable())[:MAX_USER_AGENT].strip()


async def enter(
    runtime: Runtime, typed: str, session: Session, *, browser: str, address: str
) -> Entered | None:
    """Return the request of a code that a person typed; None when there is none.

    Raises `too_many_requests`, or `access_denied` when nothing of it is open to this person.
    """
    for name, capacity, per_second in (
        (f"user code person {session.user_id}", PERSON_CAPACITY, PERSON_PER_SECOND),
        (f"user code address {network(address)}", ADDRESS_CAPACITY, ADDRESS_PER_SECOND),
    ):
        if wait := await take(runtime, name, capacity, per_second):
            raise OAuthError("too_many_requests", "Too many codes.", retry_after=wait)
    user_code = device.normalise_user_code(typed)
    if user_code is None:
        return None
    code = await runtime.database.write(
        store.show_device_code,
        _keyed(runtime, user_code),
        browser=browser_digest(browser),
        user_id=session.user_id,
        now=runtime.now(),
    )
    return await _entered(runtime, user_code, code, session)


async def _entered(
    runtime: Runtime, user_code: str, code: DeviceCode | None, session: Session
) -> Entered | None:
    client = await client_registry.find(runtime, code.client_id) if code else None
    if code is None or client is None or client.disabled_at is not None or not client.may(DEVICE_CODE):
        return None
    user = await runtime.database.read(users.get_user, session.user_id)
    if user is None:
        return None
    scope = membership.require_open(
        runtime.settings,
        client,
        user,
        tuple(code.scope.split()),
        may_be_empty=bool(detail_types.read(code.authorization_details)),
    )
    return Entered(user_code, msgspec.structs.replace(code, scope=" ".join(scope)), client)


async def shown(runtime: Runtime, sent: str, session: Session, *, browser: str) -> Entered | None:
    """Return the request whose code this person entered in this browser, decided or not; None for anybody else."""
    user_code = device.normalise_user_code(sent)
    if user_code is None:
        return None
    code = await runtime.database.read(
        store.find_shown,
        _keyed(runtime, user_code),
        browser=browser_digest(browser),
        user_id=session.user_id,
        now=runtime.now(),
    )
    return await _entered(runtime, user_code, code, session)


async def approve(runtime: Runtime, entered: Entered, session: Session, *, browser: str) -> bool:
    """Grant what the device asked for; return False when it was decided or ended meanwhile."""
    now = runtime.now()
    grant = Grant(
        id=new_id("grant"),
        client_id=entered.client.client_id,
        user_id=session.user_id,
        session_id=session.id,
        scope=entered.code.scope,
        audience=entered.code.audience,
        authorization_details=entered.code.authorization_details,
        claims=_encode(sign_in_claims(session)).decode(),
        created_at=now,
        started_at=now,
        last_used_at=now,
    )
    keyed = _keyed(runtime, entered.user_code)
    return await runtime.database.write(
        store.approve_device_code, keyed, grant, browser=browser_digest(browser), now=now
    )


async def deny(runtime: Runtime, entered: Entered, session: Session, *, browser: str) -> bool:
    """Refuse what the device asked for; return False when it was decided or ended meanwhile."""
    return await runtime.database.write(
        store.deny_device_code,
        _keyed(runtime, entered.user_code),
        browser=browser_digest(browser),
        user_id=session.user_id,
        now=runtime.now(),
    )
