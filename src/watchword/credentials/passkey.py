"""WebAuthn Level 3 §7: passkeys.

Owns what is asked of a browser, what is accepted from it, and what is stored of a credential. The library `webauthn` verifies
signatures; this module adds what it leaves open: bounds, strict encodings, cross-origin use, the credential's owner, counters and
backup state. A challenge is random, kept with the browser's visit for at most `LIFETIME` seconds and used once: that is up to `flows`.
The library takes half a second to import, so it is imported with the first passkey.
"""

import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from watchword.credentials import authenticator_data
from watchword.credentials.authenticator_data import EDDSA, ES256, RS256, MalformedError
from watchword.credentials.methods import Method
from watchword.jose import JoseError, strict_json
from watchword.jose.jwk import b64decode, b64encode
from watchword.jose.strict_json import StrictJSONError

LIFETIME = 300
CHALLENGE_BYTES = 32
ALGORITHMS = (ES256, EDDSA, RS256)
MAX_RESPONSE = 64 * 1024
MAX_CLIENT_DATA, MAX_ATTESTATION, MAX_DATA, MAX_SIGNATURE, MAX_USER_HANDLE = 4096, 16_384, 4096, 1024, 64
TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "internal", "hybrid"})

Verification = Literal["required", "preferred", "discouraged"]
T = TypeVar("T")

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?P<port>:[1-9][0-9]{0,4})?"
)


class PasskeyRefused(ValueError):
    """A registration or assertion that is not acceptable; `reason` is stable, `detail` is for the log only."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class RelyingParty(msgspec.Struct, frozen=True):
    """The relying party: the domain that passkeys are bound to, a name for people, and the origin of the pages that use them."""

    id: str
    name: str
    origin: str


class Passkey(msgspec.Struct, frozen=True):
    """The stored part of a credential; `credential_id` is unique over all accounts."""

    credential_id: bytes
    user_handle: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    user_verified: bool
    transports: tuple[str, ...]
    aaguid: str


class Presented(msgspec.Struct, frozen=True):
    """An assertion that was parsed and not yet verified: the credential that it names, and the user handle that it claims."""

    credential_id: bytes
    user_handle: bytes | None
    document: Mapping[str, object]


class Assertion(msgspec.Struct, frozen=True):
    """What a verified assertion proves; the caller stores the counter and the backup state."""

    sign_count: int
    backed_up: bool
    user_verified: bool
    regressed: bool

    @property
    def method(self) -> Method:
        """The authentication method that this assertion is."""
        return Method.PASSKEY_VERIFIED if self.user_verified else Method.PASSKEY


def relying_party(issuer: str, name: str) -> RelyingParty:
    """Return the relying party of an issuer; raise PasskeyRefused for what browsers would refuse."""
    own = _ORIGIN.fullmatch("/".join(issuer.split("/")[:3]))
    if own is None or not _is_domain(own["host"]):
        raise PasskeyRefused("rp_id", "passkeys need an issuer with a domain name")
    if not _is_secure(own):
        raise PasskeyRefused("origin", "passkeys need https, or http on localhost")
    # Browsers leave the default port out of an origin.
    default = ":443" if own["scheme"] == "https" else ":80"
    return RelyingParty(own["host"], name, own[0].removesuffix(default))


def _is_domain(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _is_secure(origin: re.Match[str]) -> bool:
    return (
        origin["scheme"] == "https" or origin["host"] == "localhost" or origin["host"].endswith(".localhost")
    )


def registration_options(
    party: RelyingParty,
    *,
    user_handle: bytes,
    username: str,
    display_name: str,
    challenge: bytes,
    verification: Verification,
    existing: Iterable[Passkey] = (),
) -> dict[str, object]:
    """Return the options for `navigator.credentials.create` (§5.4); the handle is up to 64 random bytes, which identify nobody."""
    if not 0 < len(user_handle) <= MAX_USER_HANDLE or len(challenge) < CHALLENGE_BYTES:
        raise ValueError("a handle has 1 to 64 bytes, a challenge at least 32")
    return {
        "rp": {"id": party.id, "name": party.name},
        "user": {"id": b64encode(user_handle), "name": username, "displayName": display_name or username},
        "challenge": b64encode(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
        "timeout": LIFETIME * 1000,
        "excludeCredentials": [_descriptor(passkey) for passkey in existing],
        "authenticatorSelection": {
            "residentKey": "required",  # so that it signs in without a user name
            "requireResidentKey": True,
            "userVerification": verification,
        },
        "attestation": "none",
        "extensions": {"credProps": True},
    }


def authentication_options(
    party: RelyingParty, *, challenge: bytes, verification: Verification, allowed: Iterable[Passkey] = ()
) -> dict[str, object]:
    """Return the options for `navigator.credentials.get` (§5.5); without `allowed`, any discoverable passkey of this domain may sign."""
    if len(challenge) < CHALLENGE_BYTES:
        raise ValueError("a challenge has at least 32 bytes")
    return {
        "challenge": b64encode(challenge),
        "rpId": party.id,
        "timeout": LIFETIME * 1000,
        "allowCredentials": [_descriptor(passkey) for passkey in allowed],
        "userVerification": verification,
    }


def _descriptor(passkey: Passkey) -> dict[str, object]:
    return {
        "type": "public-key",
        "id": b64encode(passkey.credential_id),
        "transports": list(passkey.transports),
    }


def verify_registration(
    party: RelyingParty,
    response: str | bytes,
    *,
    challenge: bytes,
    user_handle: bytes,
    verification: Verification,
) -> Passkey:
    """Return the passkey that a browser created for an account; raise PasskeyRefused (PS-01, PS-02, PS-06, PS-07)."""
    document, parts = _read(response)
    credential_id = _bytes(document.get("rawId"), authenticator_data.MAX_CREDENTIAL_ID)
    _check_client_data(parts, "webauthn.create", challenge, party)
    data = _shaped(
        authenticator_data.read_attestation, _bytes(parts.get("attestationObject"), MAX_ATTESTATION)
    )
    if data.credential_id != credential_id:
        raise PasskeyRefused("malformed")
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    verified = _verified(
        lambda: verify_registration_response(
            credential=_plain(document, parts, "clientDataJSON", "attestationObject"),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=verification == "required",
            supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in ALGORITHMS],
        )
    )
    return Passkey(
        credential_id=verified.credential_id,
        user_handle=user_handle,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        backup_eligible=data.backup_eligible,
        backed_up=verified.credential_backed_up,
        user_verified=verified.user_verified,
        transports=_transports(parts.get("transports")),
        aaguid=verified.aaguid,
    )


def read_assertion(response: str | bytes) -> Presented:
    """Parse an assertion, so that its credential can be looked up; raise PasskeyRefused."""
    document, parts = _read(response)
    handle = parts.get("userHandle")
    return Presented(
        _bytes(document.get("rawId"), authenticator_data.MAX_CREDENTIAL_ID),
        None if handle in (None, "") else _bytes(handle, MAX_USER_HANDLE),
        document,
    )


def verify_assertion(
    party: RelyingParty,
    presented: Presented,
    passkey: Passkey,
    *,
    challenge: bytes,
    verification: Verification,
    named: bytes | None = None,
) -> Assertion:
    """Return what an assertion by a stored passkey proves; raise PasskeyRefused (PS-01, PS-04, PS-07).

    The caller refuses it if its counter has `regressed` (PS-03). `named` is the handle of the account whose name was typed; without it the
    assertion itself must say whose it is.
    """
    _check_owner(presented, passkey, named)
    document, parts = presented.document, _members(presented.document["response"])
    _check_client_data(parts, "webauthn.get", challenge, party)
    data = _shaped(authenticator_data.read, _bytes(parts.get("authenticatorData"), MAX_DATA))
    if data.backup_eligible != passkey.backup_eligible:  # §7.2 step 19
        raise PasskeyRefused("backup_eligibility")
    _bytes(parts.get("signature"), MAX_SIGNATURE)
    from webauthn import verify_authentication_response

    verified = _verified(
        lambda: verify_authentication_response(
            credential=_plain(document, parts, "clientDataJSON", "authenticatorData", "signature"),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,  # judged below
            require_user_verification=verification == "required",
        )
    )
    # §7.2 step 22: perhaps a copy
    regressed = (data.sign_count or passkey.sign_count) > 0 and data.sign_count <= passkey.sign_count
    return Assertion(data.sign_count, verified.credential_backed_up, verified.user_verified, regressed)


def _check_owner(presented: Presented, passkey: Passkey, named: bytes | None) -> None:
    if not hmac.compare_digest(presented.credential_id, passkey.credential_id):
        raise PasskeyRefused("credential")
    if named is None and presented.user_handle is None:  # §7.2 step 6
        raise PasskeyRefused("user")
    for handle in (presented.user_handle, named):
        if handle is not None and not hmac.compare_digest(handle, passkey.user_handle):
            raise PasskeyRefused("user")


def _read(response: str | bytes) -> tuple[dict[str, object], dict[str, object]]:
    try:
        document = _members(strict_json.loads(response, max_bytes=MAX_RESPONSE, max_depth=8))
    except StrictJSONError:
        raise PasskeyRefused("malformed") from None
    if document.get("type") != "public-key" or document.get("id") != document.get("rawId"):
        raise PasskeyRefused("malformed")
    return document, _members(document.get("response"))


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise PasskeyRefused("malformed")
    return value


def _bytes(value: object, most: int) -> bytes:
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 3:
        raise PasskeyRefused("malformed")
    try:
        raw = b64decode(value)
    except JoseError:
        raise PasskeyRefused("malformed") from None
    if len(raw) > most:
        raise PasskeyRefused("malformed")
    return raw


def _check_client_data(parts: Mapping[str, object], kind: str, challenge: bytes, party: RelyingParty) -> None:
    try:
        data = _members(strict_json.loads(_bytes(parts.get("clientDataJSON"), MAX_CLIENT_DATA), max_depth=4))
    except StrictJSONError:
        raise PasskeyRefused("malformed") from None
    if data.get("type") != kind:  # §7.1 step 7, §7.2 step 11
        raise PasskeyRefused("type")
    sent = data.get("challenge")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), b64encode(challenge).encode()):
        raise PasskeyRefused("challenge")
    if data.get("origin") != party.origin:  # §13.4.9
        raise PasskeyRefused("origin", ascii(data.get("origin"))[:200])
    if data.get("crossOrigin", False) is not False or "topOrigin" in data:  # our pages are never framed
        raise PasskeyRefused("origin", "cross-origin")


def _plain(document: Mapping[str, object], parts: Mapping[str, object], *names: str) -> dict[str, object]:
    """Return only the members that were checked, without what a browser adds."""
    response = {name: parts[name] for name in names}
    return {"id": document["rawId"], "rawId": document["rawId"], "type": "public-key", "response": response}


def _transports(value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list) else []
    return tuple(sorted({name for name in given if isinstance(name, str)} & TRANSPORTS))


def _shaped(function: Callable[[bytes], T], raw: bytes) -> T:
    try:
        return function(raw)
    except MalformedError as error:
        raise PasskeyRefused(error.reason) from None


def _verified(call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # whatever the parsers below raise for hostile input, it is refused
        raise PasskeyRefused("refused", ascii(f"{type(error).__name__}: {error}")[:300]) from None
