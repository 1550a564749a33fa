"""Passkeys in the server: options for a browser, registration, sign-in.

Theory of operation. A challenge carries its own MAC over browser, purpose and time, so that showing a page stores nothing; that it is
answered once is recorded in the database, for all nodes (PS-03). The page sends the challenge back with the answer.
"""

import base64
import hashlib
import hmac
import json
import os

from watchword.credentials import passkey
from watchword.credentials.methods import Method
from watchword.credentials.passkey import LIFETIME, PasskeyRefused, RelyingParty, Verification
from watchword.flows import one_time, sessions
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.jose.jwk import b64encode
from watchword.store import passkeys as store
from watchword.store import users
from watchword.store.passkeys import MadePasskey, StoredPasskey
from watchword.store.sessions import Session
from watchword.store.tokens import Used
from watchword.store.users import User
from watchword.telemetry import log

NONCE = 24
MAX_NAME = 60
DEFAULT_NAME = "Passkey"


def party(runtime: Runtime) -> RelyingParty | None:
    """Return the WebAuthn relying party, None where browsers would refuse it (an issuer without a domain name)."""
    try:
        return passkey.relying_party(runtime.settings.issuer, runtime.settings.service_name)
    except PasskeyRefused:
        return None


def _seal(runtime: Runtime, browser: str, purpose: str, nonce: bytes) -> bytes:
    text = f"{browser}\n{purpose}\n".encode() + nonce
    return hmac.new(runtime.root.derive("passkey challenges"), text, hashlib.sha256).digest()


def new_challenge(runtime: Runtime, browser: str, purpose: str) -> bytes:
    """Return a challenge for one browser and purpose, good for five minutes and once."""
    nonce = os.urandom(NONCE) + runtime.now().to_bytes(8, "big")
    return nonce + _seal(runtime, browser, purpose, nonce)


def _read_challenge(runtime: Runtime, browser: str, purpose: str, sent: str) -> bytes:
    try:
        challenge = base64.urlsafe_b64decode(sent + "=" * (-len(sent) % 4))
    except ValueError:
        raise PasskeyRefused("challenge") from None
    nonce, seal = challenge[: NONCE + 8], challenge[NONCE + 8 :]
    if not hmac.compare_digest(seal, _seal(runtime, browser, purpose, nonce)):
        raise PasskeyRefused("challenge")
    if not runtime.is_young(_issued(nonce), LIFETIME):
        raise PasskeyRefused("challenge", "expired")
    return challenge


def _used(challenge: bytes, now: int) -> Used:
    """Return the digest of an answered challenge, until when it has to be remembered, and when it was issued (Unix seconds)."""
    digest = hashlib.sha256(b"passkey challenge\n" + challenge).digest()
    issued = _issued(challenge)
    return digest, max(now, issued) + LIFETIME, issued


def _issued(challenge: bytes) -> int:
    return int.from_bytes(challenge[NONCE : NONCE + 8], "big")


def user_handle(runtime: Runtime, user_id: str) -> bytes:
    """Return the WebAuthn user handle of an account, which reveals nothing about it (WebAuthn §14.6.1)."""
    return hmac.new(runtime.root.derive("passkey user handle"), user_id.encode(), hashlib.sha256).digest()


async def request_options(
    runtime: Runtime, browser: str, purpose: str, user_id: str | None = None
) -> tuple[str, str] | None:
    """Return request options as JSON and the challenge to send back; None where there can be no passkeys."""
    asking = party(runtime)
    if asking is None:
        return None
    allowed = await runtime.database.read(store.list_passkeys, user_id) if user_id else []
    challenge = new_challenge(runtime, browser, purpose)
    options = passkey.authentication_options(
        asking,
        challenge=challenge,
        verification=_verification(user_id),
        allowed=[one.passkey for one in allowed],
    )
    return json.dumps(options), b64encode(challenge)


def _verification(user_id: str | None) -> Verification:
    # A passkey alone stands for both factors, so the device must verify the person; after a password, possession is enough.
    return "preferred" if user_id else "required"


def _creation(user_id: str, link: str | None) -> tuple[str, Verification]:
    """Return the purpose for the challenge of a new passkey, and whether the device must verify the person."""
    if link is None:
        return f"register {user_id}", "preferred"
    # A passkey made by a one-time link is the only way to sign in, for which the device has to verify the person.
    return f"register {user_id} {one_time.digest(link).hex()}", "required"


async def creation_options(
    runtime: Runtime, browser: str, user: User, link: str | None = None
) -> tuple[str, str] | None:
    """Return creation options as JSON and the challenge to send back; None where there can be no passkeys.

    With a one-time `link` the account may be one that the link is yet to create.
    """
    asking = party(runtime)
    if asking is None:
        return None
    purpose, verification = _creation(user.id, link)
    existing = await runtime.database.read(store.list_passkeys, user.id)
    challenge = new_challenge(runtime, browser, purpose)
    options = passkey.registration_options(
        asking,
        user_handle=user_handle(runtime, user.id),
        username=user.username,
        display_name=user.display_name or user.username,
        challenge=challenge,
        verification=verification,
        existing=[one.passkey for one in existing],
    )
    return json.dumps(options), b64encode(challenge)


def check_made(
    runtime: Runtime,
    user_id: str,
    *,
    browser: str,
    challenge: str,
    credential: str,
    name: str,
    link: str | None = None,
) -> MadePasskey:
    """Verify a passkey that a person's browser made and return it, not stored yet; raise PasskeyRefused."""
    asking = _require_party(runtime)
    purpose, verification = _creation(user_id, link)
    raw = _read_challenge(runtime, browser, purpose, challenge)
    made = passkey.verify_registration(
        asking,
        credential,
        challenge=raw,
        user_handle=user_handle(runtime, user_id),
        verification=verification,
    )
    now = runtime.now()
    stored = StoredPasskey(
        id=new_id("passkey"),
        user_id=user_id,
        name=name,
        created_at=now,
        last_used_at=None,
        passkey=made,
    )
    return MadePasskey(stored=stored, challenge=_used(raw, now))


async def register(
    runtime: Runtime, session: Session, *, browser: str, challenge: str, credential: str, name: str
) -> StoredPasskey:
    """Verify and store a passkey that a person's browser made in a session; raise PasskeyRefused, or as `sessions.act`."""
    made = check_made(
        runtime, session.user_id, browser=browser, challenge=challenge, credential=credential, name=name
    )
    if not await sessions.act(runtime, session, store.add_passkey, made, actor=session.user_id):
        raise PasskeyRefused("known")
    return made.stored


def _require_party(runtime: Runtime) -> RelyingParty:
    asking = party(runtime)
    if asking is None:
        raise PasskeyRefused("rp_id")
    return asking


async def prove(
    runtime: Runtime,
    *,
    browser: str,
    purpose: str,
    challenge: str,
    credential: str,
    user_id: str | None = None,
) -> tuple[User, Method]:
    """Verify an answer to a challenge; return the person, as read before the proof, and the method it proves.

    With `user_id` it must be that person's passkey. Raises PasskeyRefused.
    """
    asking = _require_party(runtime)
    raw = _read_challenge(runtime, browser, purpose, challenge)
    presented = passkey.read_assertion(credential)
    found = await runtime.database.read(store.find_passkey, presented.credential_id)
    if found is None or (user_id is not None and found.user_id != user_id):
        raise PasskeyRefused("unknown")
    user = await runtime.database.read(users.get_user, found.user_id)
    if user is None:
        raise PasskeyRefused("unknown")
    assertion = passkey.verify_assertion(
        asking,
        presented,
        found.passkey,
        challenge=raw,
        verification=_verification(user_id),
        named=user_handle(runtime, user_id) if user_id else None,
    )
    now = runtime.now()
    if assertion.regressed:
        await runtime.database.write(store.note_copied_passkey, found.id, user_id=found.user_id, now=now)
        log.warning("passkey.counter_regressed", user=found.user_id, passkey=found.id)
        raise PasskeyRefused("sign_count")
    used = await runtime.database.write(
        store.use_passkey,
        found.id,
        sign_count=assertion.sign_count,
        backed_up=assertion.backed_up,
        user_verified=assertion.user_verified,
        challenge=_used(raw, now),
        now=now,
    )
    if not used:
        raise PasskeyRefused("challenge", "used")
    return user, assertion.method
