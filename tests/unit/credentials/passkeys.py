"""Passkeys of an authenticator in software, registered with and signed in by, and why they are refused."""

from typing import Any

import pytest

from watchword.credentials import passkey as passkeys
from watchword.credentials.passkey import Passkey, PasskeyRefused, Verification

ORIGIN = "https://auth.example.com"


PARTY = passkeys.relying_party(ORIGIN, "Example")


CHALLENGE = bytes(range(32))


HANDLE = b"ada's handle"


CREATE: Any = passkeys.registration_options(
    PARTY,
    user_handle=HANDLE,
    username="ada",
    display_name="Ada",
    challenge=CHALLENGE,
    verification="required",
)


def register(
    response: str, *, challenge: bytes = CHALLENGE, verification: Verification = "required"
) -> Passkey:
    return passkeys.verify_registration(
        PARTY, response, challenge=challenge, user_handle=HANDLE, verification=verification
    )


def reason_of_registration(response: str, **options: Any) -> str:
    with pytest.raises(PasskeyRefused) as caught:
        register(response, **options)
    return caught.value.reason
