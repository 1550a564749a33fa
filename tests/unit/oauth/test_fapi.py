"""FAPI 2.0: the algorithms by which a server signs for a client of the profile."""

import msgspec
import pytest

from watchword.oauth import fapi
from watchword.oauth.answers import KINDS
from watchword.oauth.clients import FAPI_ALGORITHMS, Client
from watchword.oauth.errors import OAuthError

BANK = Client(
    client_id="bank", name="bank", token_endpoint_auth_method="private_key_jwt", security_profile="fapi2"
)
AVAILABLE = ("RS256", "ES256", "EdDSA")


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_for_a_client_of_the_profile_is_signed_by_another_algorithm(kind: str) -> None:
    field = f"{kind}_signed_response_alg"
    for algorithm in (None, *FAPI_ALGORITHMS):
        fapi.check_signing(msgspec.structs.replace(BANK, **{field: algorithm}), AVAILABLE)
    with pytest.raises(OAuthError) as refused:
        fapi.check_signing(msgspec.structs.replace(BANK, **{field: "RS256"}), AVAILABLE)
    assert (refused.value.code, refused.value.field) == ("invalid_client_metadata", field)
    fapi.check_signing(
        msgspec.structs.replace(BANK, security_profile="default", **{field: "RS256"}), AVAILABLE
    )
