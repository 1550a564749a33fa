"""The claims parameter is read strictly and kept small (AZ-21)."""

import json

import msgspec
import pytest

from watchword.oauth import claims_request
from watchword.oauth.claims_request import ClaimsRequest, ClaimWish
from watchword.oauth.errors import OAuthError


def test_the_example_of_the_specification_is_understood() -> None:
    document = {
        "userinfo": {
            "given_name": {"essential": True},
            "nickname": None,
            "http://example.info/claims/groups": None,
        },
        "id_token": {
            "auth_time": {"essential": True},
            "acr": {"values": ["urn:mace:incommon:iap:silver"]},
            "sub": {"value": "248289761001"},
        },
        "unknown": {"ignored": True},
    }
    request = claims_request.parse(json.dumps(document))
    assert request.userinfo["given_name"] == ClaimWish(essential=True)
    assert request.userinfo["nickname"] == ClaimWish()
    assert request.id_token["acr"].values == ("urn:mace:incommon:iap:silver",)
    assert request.id_token["sub"].values == ("248289761001",)


def test_it_survives_being_stored() -> None:
    request = claims_request.parse('{"id_token": {"acr": {"essential": true, "values": ["a", 1]}}}')
    assert msgspec.json.decode(msgspec.json.encode(request), type=ClaimsRequest) == request


def test_nothing_asks_for_nothing() -> None:
    assert claims_request.parse(None) == claims_request.NOTHING == claims_request.parse("{}")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"userinfo": []}', '{"userinfo": {"a": 1}}', '{"userinfo": {"a": []}}',
     '{"id_token": {"a": {"essential": 1}}}', '{"id_token": {"a": {"values": "x"}}}',
     '{"id_token": {"a": {"value": null}}}', '{"id_token": {"a": {"value": {"b": 1}}}}',
     '{"id_token": {"a": null, "a": null}}', '{"id_token": {"\\ud800": null}}', '{"a": NaN}',
     '{"a": ' + "1" * 5000 + "}", "[" * 8000, "{" + " " * 9000 + "}",
     json.dumps({"userinfo": {str(n): None for n in range(51)}}),
     json.dumps({"userinfo": {"a": {"values": ["x"] * 21}}})],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_az_21_malformed_claims_are_refused(text: str) -> None:
    with pytest.raises(OAuthError) as caught:
        claims_request.parse(text)
    assert caught.value.code == "invalid_request"
