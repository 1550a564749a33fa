"""What a polling device is told, and what people may type (DV rows)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from watchword.oauth import device
from watchword.oauth.device import DeviceCode

NOW = 1_800_000_000
PENDING = DeviceCode("tv", "pending", NOW + 600)


@given(st.binary(min_size=16, max_size=32))
def test_dv_03_every_user_code_survives_being_shown_and_typed(randomness: bytes) -> None:
    code = device.make_user_code(randomness)
    assert len(code) == 8
    assert set(code) <= set(device.ALPHABET)
    assert device.normalise_user_code(device.format_user_code(code).lower()) == code


def test_a_user_code_needs_randomness() -> None:
    with pytest.raises(ValueError):
        device.make_user_code(b"x" * 15)


@pytest.mark.parametrize("typed", ["wdjb mjht", "WDJB-MJHT", " wdjb.mjht ", "w-d-j-b-m-j-h-t", "WDJB_MJHT"])
def test_a_user_code_may_be_typed_as(typed: str) -> None:
    assert device.normalise_user_code(typed) == "WDJBMJHT"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "WDJB",
        "WDJBMJHTX",
        "AAAAAAAA",
        "WDJBMJH0",
        "WDJB\x00MJHT",
        "ẆDJBMJHT",
        "\ud800",
        "W" * 10_000,
        "' OR 1=1",
    ],
)
def test_dv_05_a_hostile_user_code_is_no_user_code(typed: str) -> None:
    assert device.normalise_user_code(typed) is None


@pytest.mark.parametrize(
    ("code", "client_id", "error"),
    [
        pytest.param(PENDING, "tv", "authorization_pending", id="DV-01 before approval"),
        pytest.param(structs.replace(PENDING, status="approved"), "tv", None, id="after approval"),
        pytest.param(
            structs.replace(PENDING, status="approved"),
            "other",
            "invalid_grant",
            id="DV-01 by another client",
        ),
        pytest.param(structs.replace(PENDING, status="redeemed"), "tv", "invalid_grant", id="DV-01 twice"),
        pytest.param(None, "tv", "invalid_grant", id="DV-01 garbage"),
        pytest.param(
            structs.replace(PENDING, status="denied"), "tv", "access_denied", id="DV-05 after refusal"
        ),
        pytest.param(
            structs.replace(PENDING, expires_at=NOW), "tv", "expired_token", id="at the end of its life"
        ),
        pytest.param(
            structs.replace(PENDING, status="approved", expires_at=NOW - 1),
            "tv",
            "expired_token",
            id="approved but expired",
        ),
        pytest.param(
            structs.replace(PENDING, last_polled_at=NOW - 5),
            "tv",
            "authorization_pending",
            id="after the interval",
        ),
        pytest.param(
            structs.replace(PENDING, last_polled_at=NOW - 4), "tv", "slow_down", id="before the interval"
        ),
        pytest.param(
            structs.replace(PENDING, status="approved", last_polled_at=NOW),
            "tv",
            None,
            id="approved meanwhile: nothing is pending that could be slowed down",
        ),
        pytest.param(
            structs.replace(PENDING, last_polled_at=NOW + 60),
            "tv",
            "slow_down",
            id="a clock that stepped back",
        ),
    ],
)
def test_a_poll_is_answered(code: DeviceCode | None, client_id: str, error: str | None) -> None:
    poll = device.decide_poll(code, client_id, NOW)
    assert (poll.error.code if poll.error else None) == error


def test_a_hurried_device_is_slowed_down_for_good_within_bounds() -> None:
    code, seen = structs.replace(PENDING, last_polled_at=NOW), []
    for _ in range(15):
        poll = device.decide_poll(code, "tv", NOW)
        code = structs.replace(code, interval=poll.interval)
        seen.append(poll.interval)
    assert seen[:3] == [10, 15, 20]
    assert seen[-1] == 60
