"""WebAuthn: honest passkeys work, every lie about one is refused. Rows PS-01 to PS-04, PS-06, PS-07."""

from typing import Any

import pytest
from msgspec import structs
from tests.unit.credentials.passkeys import (
    CHALLENGE,
    CREATE,
    HANDLE,
    ORIGIN,
    PARTY,
    reason_of_registration,
    register,
)
from tests.unit.credentials.software_authenticator import (
    BACKED_UP,
    BACKUP_ELIGIBLE,
    USER_PRESENT,
    USER_VERIFIED,
    SoftwareAuthenticator,
    encode,
)

from watchword.credentials import passkey as passkeys
from watchword.credentials.methods import Method
from watchword.credentials.passkey import Assertion, Passkey, PasskeyRefused, Verification

GET: Any = passkeys.authentication_options(PARTY, challenge=CHALLENGE, verification="required")


LOCAL_KEY = USER_PRESENT | USER_VERIFIED


def sign_in(
    response: str,
    stored: Passkey,
    *,
    challenge: bytes = CHALLENGE,
    verification: Verification = "required",
    named: bytes | None = None,
) -> Assertion:
    return passkeys.verify_assertion(
        PARTY,
        passkeys.read_assertion(response),
        stored,
        challenge=challenge,
        verification=verification,
        named=named,
    )


def reason_of_assertion(response: str, stored: Passkey, **options: Any) -> str:
    with pytest.raises(PasskeyRefused) as caught:
        sign_in(response, stored, **options)
    return caught.value.reason


@pytest.mark.parametrize("alg", [-7, -8, -257], ids=["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("fmt", ["none", "packed"], ids=["no attestation", "self attestation"])
def test_a_passkey_is_registered_and_signs_in(alg: int, fmt: str) -> None:
    device = SoftwareAuthenticator(alg)
    stored = register(device.create(CREATE, origin=ORIGIN, fmt=fmt))
    assert stored.credential_id == device.credential_id
    assert stored.user_handle == HANDLE
    assert stored.transports == ("hybrid", "internal")
    assert (stored.backup_eligible, stored.backed_up, stored.user_verified) == (True, True, True)
    done = sign_in(device.get(GET, origin=ORIGIN), stored)
    assert done == Assertion(sign_count=0, backed_up=True, user_verified=True, regressed=False)
    assert done.method is Method.PASSKEY_VERIFIED


def test_the_browser_is_asked_for_a_discoverable_credential_without_attestation() -> None:
    assert CREATE["rp"] == {"id": "auth.example.com", "name": "Example"}
    assert CREATE["user"] == {"id": encode(HANDLE), "name": "ada", "displayName": "Ada"}
    assert [entry["alg"] for entry in CREATE["pubKeyCredParams"]] == [-7, -8, -257]
    assert CREATE["authenticatorSelection"]["residentKey"] == "required"
    assert CREATE["authenticatorSelection"]["userVerification"] == "required"
    assert CREATE["attestation"] == "none"
    assert (GET["rpId"], GET["allowCredentials"], GET["userVerification"]) == (
        "auth.example.com",
        [],
        "required",
    )
    assert CREATE["timeout"] == GET["timeout"] == 300_000


def test_a_browser_is_told_which_passkeys_there_are() -> None:
    stored = register(SoftwareAuthenticator().create(CREATE, origin=ORIGIN))
    options: Any = passkeys.registration_options(
        PARTY,
        user_handle=HANDLE,
        username="ada",
        display_name="",
        challenge=CHALLENGE,
        verification="preferred",
        existing=[stored],
    )
    entry = {"type": "public-key", "id": encode(stored.credential_id), "transports": ["hybrid", "internal"]}
    assert options["excludeCredentials"] == [entry]
    named: Any = passkeys.authentication_options(
        PARTY, challenge=CHALLENGE, verification="preferred", allowed=[stored]
    )
    assert named["allowCredentials"] == [entry]


@pytest.mark.parametrize("short", [b"", b"x" * 31])
def test_a_short_challenge_is_a_mistake(short: bytes) -> None:
    with pytest.raises(ValueError, match="32"):
        passkeys.authentication_options(PARTY, challenge=short, verification="required")


LIES = [
    pytest.param({"origin": "https://evil.example"}, "origin", id="another origin"),
    pytest.param({"origin": "https://evil.auth.example.com"}, "origin", id="a subdomain of ours"),
    pytest.param({"origin": "http://auth.example.com"}, "origin", id="our host without TLS"),
    pytest.param({"origin": "https://auth.example.com:8443"}, "origin", id="another port"),
    pytest.param({"origin": "https://auth.example.com/"}, "origin", id="a slash after the origin"),
    pytest.param({"origin": ""}, "origin", id="no origin"),
    pytest.param({"client_data": {"origin": ["https://auth.example.com"]}}, "origin", id="a list of origins"),
    pytest.param({"client_data": {"crossOrigin": True}}, "origin", id="a frame in another page"),
    pytest.param({"client_data": {"topOrigin": "https://evil.example"}}, "origin", id="a top origin"),
    pytest.param({"rp_id": "evil.example"}, "refused", id="another domain's credential"),
    pytest.param({"kind": "payment.get"}, "type", id="another type"),
    pytest.param({"client_data": {"challenge": encode(bytes(32))}}, "challenge", id="another challenge"),
    pytest.param(
        {"client_data": {"challenge": encode(CHALLENGE) + "="}}, "challenge", id="a padded challenge"
    ),
    pytest.param({"client_data": {"challenge": 5}}, "challenge", id="a number for a challenge"),
    pytest.param({"client_data": {"challenge": "\u00e9"}}, "challenge", id="a challenge that is not ASCII"),
    pytest.param({"flags": USER_VERIFIED | BACKUP_ELIGIBLE}, "refused", id="nobody was present"),
    pytest.param({"flags": USER_PRESENT | BACKUP_ELIGIBLE}, "refused", id="nobody was verified"),
]


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_a_lie_at_registration_is_refused(lie: dict[str, Any], reason: str) -> None:
    """PS-01, PS-07."""
    assert register(SoftwareAuthenticator().create(CREATE, origin=ORIGIN))
    response = SoftwareAuthenticator().create(CREATE, **{"origin": ORIGIN, **lie})
    assert reason_of_registration(response) == reason


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_a_lie_at_sign_in_is_refused(lie: dict[str, Any], reason: str) -> None:
    """PS-01, PS-07."""
    device = SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    assert sign_in(device.get(GET, origin=ORIGIN), stored)
    response = device.get(GET, **{"origin": ORIGIN, **lie})
    assert reason_of_assertion(response, stored) == reason


def test_registration_and_sign_in_are_not_taken_for_one_another() -> None:
    """PS-01."""
    device = SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    assert reason_of_registration(device.create(CREATE, origin=ORIGIN, kind="webauthn.get")) == "type"
    assert reason_of_assertion(device.get(GET, origin=ORIGIN, kind="webauthn.create"), stored) == "type"


def test_a_challenge_answers_one_visit() -> None:
    """PS-01: replayed into a visit with another challenge."""
    device = SoftwareAuthenticator()
    response = device.create(CREATE, origin=ORIGIN)
    stored = register(response)
    assert reason_of_registration(response, challenge=b"n" * 32) == "challenge"
    assert reason_of_assertion(device.get(GET, origin=ORIGIN), stored, challenge=b"n" * 32) == "challenge"


def test_without_verification_a_passkey_is_one_factor() -> None:
    device = SoftwareAuthenticator(flags=USER_PRESENT)
    stored = register(device.create(CREATE, origin=ORIGIN), verification="preferred")
    done = sign_in(device.get(GET, origin=ORIGIN), stored, verification="preferred")
    assert done.method is Method.PASSKEY


@pytest.mark.parametrize(
    "signature", [b"", b"\x00" * 70, b"\x30\x06\x02\x01\x01\x02\x01\x01", b"x" * 1024, b"x" * 1025]
)
def test_a_signature_that_is_not_the_keys_is_refused(signature: bytes) -> None:
    """PS-01."""
    device = SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    assert sign_in(device.get(GET, origin=ORIGIN), stored)
    response = device.get(GET, origin=ORIGIN, signature=signature)
    assert reason_of_assertion(response, stored) in {"refused", "malformed"}


def test_the_signature_of_another_authenticator_is_refused() -> None:
    """PS-01."""
    device, thief = SoftwareAuthenticator(), SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    thief.create(CREATE, origin=ORIGIN)
    thief.credential_id = device.credential_id
    assert reason_of_assertion(thief.get(GET, origin=ORIGIN), stored) == "refused"


@pytest.mark.parametrize(
    ("before", "said", "regressed"),
    [
        pytest.param(0, 0, False, id="a synced passkey does not count"),
        pytest.param(4, 5, False, id="one more"),
        pytest.param(4, 900, False, id="many more"),
        pytest.param(4, 4, True, id="the same again"),
        pytest.param(4, 3, True, id="less"),
        pytest.param(4, 0, True, id="none any more"),
    ],
)
def test_a_counter_that_goes_back_is_flagged(before: int, said: int, regressed: bool) -> None:
    """PS-03."""
    device = SoftwareAuthenticator(flags=LOCAL_KEY)
    stored = structs.replace(register(device.create(CREATE, origin=ORIGIN)), sign_count=before)
    response = device.get(GET, origin=ORIGIN, sign_count=said)
    flagged = sign_in(response, stored)
    assert (flagged.regressed, flagged.sign_count) == (regressed, said)


def test_a_counting_authenticator_signs_in_again_and_again() -> None:
    """PS-03."""
    device = SoftwareAuthenticator(flags=LOCAL_KEY, sign_count=0)
    stored = register(device.create(CREATE, origin=ORIGIN))
    for _ in range(3):
        done = sign_in(device.get(GET, origin=ORIGIN), stored)
        stored = structs.replace(stored, sign_count=done.sign_count)
    assert stored.sign_count == 4


@pytest.mark.parametrize(
    ("handle", "named", "reason"),
    [
        pytest.param(HANDLE, None, None, id="the credential says whose it is"),
        pytest.param(HANDLE, HANDLE, None, id="as does the name that was typed"),
        pytest.param(b"", HANDLE, None, id="the name alone will do"),
        pytest.param(b"", None, "user", id="neither says whose it is"),
        pytest.param(b"bob's handle", None, "user", id="the credential says it is another's"),
        pytest.param(HANDLE, b"bob's handle", "user", id="the name that was typed is another's"),
        pytest.param(b"", b"bob's handle", "user", id="another's name without a handle"),
        pytest.param(b"bob's handle", b"bob's handle", "user", id="another's name and handle"),
        pytest.param(b"x" * 65, None, "malformed", id="a handle that is too long"),
    ],
)
def test_a_passkey_is_its_owners_alone(handle: bytes, named: bytes | None, reason: str | None) -> None:
    """PS-04."""
    device = SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    response = device.get(GET, origin=ORIGIN, user_handle=handle)
    if reason is None:
        assert sign_in(response, stored, named=named)
    else:
        assert reason_of_assertion(response, stored, named=named) == reason


def test_an_assertion_is_held_against_its_own_credential() -> None:
    """PS-04."""
    device, other = SoftwareAuthenticator(), SoftwareAuthenticator()
    stored = register(device.create(CREATE, origin=ORIGIN))
    register(other.create(CREATE, origin=ORIGIN))
    assert sign_in(device.get(GET, origin=ORIGIN), stored)
    assert reason_of_assertion(other.get(GET, origin=ORIGIN), stored) == "credential"


def test_backup_state_may_change_and_eligibility_may_not() -> None:
    flags = USER_PRESENT | USER_VERIFIED | BACKUP_ELIGIBLE
    device = SoftwareAuthenticator(flags=flags)
    stored = register(device.create(CREATE, origin=ORIGIN))
    assert (stored.backup_eligible, stored.backed_up) == (True, False)
    assert sign_in(device.get(GET, origin=ORIGIN, flags=flags | BACKED_UP), stored).backed_up
    assert (
        reason_of_assertion(device.get(GET, origin=ORIGIN, flags=LOCAL_KEY), stored) == "backup_eligibility"
    )


@pytest.mark.parametrize(
    ("issuer", "accepted"),
    [
        pytest.param("https://auth.example.com", "https://auth.example.com", id="an issuer"),
        pytest.param(
            "https://auth.example.com/tenant", "https://auth.example.com", id="an issuer with a path"
        ),
        pytest.param(
            "https://auth.example.com:443", "https://auth.example.com", id="the default port is not said"
        ),
        pytest.param("https://auth.example.com:8443", "https://auth.example.com:8443", id="another port is"),
        pytest.param("http://localhost:8000", "http://localhost:8000", id="localhost in development"),
        pytest.param("http://auth.example.com", None, id="no TLS"),
        pytest.param("https://127.0.0.1:8443", None, id="an IP address, which browsers refuse"),
        pytest.param("https://a@example.com", None, id="user information"),
        pytest.param("", None, id="nothing"),
        pytest.param("https://exa\nmple.com", None, id="a line break"),
    ],
)
def test_the_origin_is_the_issuers(issuer: str, accepted: str | None) -> None:
    """PS-07."""
    if accepted is None:
        with pytest.raises(PasskeyRefused):
            passkeys.relying_party(issuer, "Example")
    else:
        assert passkeys.relying_party(issuer, "Example").origin == accepted
