"""RFC 6238: a code is accepted in its window, once, and never out of order. Rows MF-01, MF-07."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from watchword.credentials import totp

SECRET = bytes(range(20))
NOW = 1_800_000_015
STEP = NOW // 30


def code(step: int) -> str:
    return totp.hotp(SECRET, step)


@pytest.mark.parametrize(
    ("drift", "accepted"),
    [(-3, False), (-2, False), (-1, True), (0, True), (1, True), (2, False), (3, False)],
    ids=lambda value: str(value),
)
def test_a_code_is_accepted_one_step_around_now(drift: int, accepted: bool) -> None:
    """MF-07."""
    assert totp.verify(SECRET, code(STEP + drift), now=NOW) == (STEP + drift if accepted else None)


@pytest.mark.parametrize("seconds", [-90, 90])
def test_a_clock_that_is_off_by_ninety_seconds_is_too_far_off(seconds: int) -> None:
    """MF-07."""
    assert totp.verify(SECRET, code(STEP), now=NOW) == STEP
    assert totp.verify(SECRET, code(STEP), now=NOW + seconds) is None


def test_a_code_is_accepted_once() -> None:
    """MF-01."""
    used = totp.verify(SECRET, code(STEP), now=NOW)
    assert used == STEP
    assert totp.verify(SECRET, code(STEP), now=NOW, last_step=used) is None
    assert totp.verify(SECRET, code(STEP + 1), now=NOW, last_step=used) == STEP + 1


def test_an_earlier_code_is_refused_after_a_later_one() -> None:
    """MF-07."""
    assert totp.verify(SECRET, code(STEP), now=NOW, last_step=STEP - 1) == STEP
    later = totp.verify(SECRET, code(STEP + 1), now=NOW)
    assert totp.verify(SECRET, code(STEP), now=NOW, last_step=later) is None


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("{0}{1} {2}{3}", id="in two groups"),
        pytest.param(" {0}{1}-{2}{3} ", id="with a dash and spaces"),
    ],
)
def test_a_code_may_be_typed_in_groups(typed: str) -> None:
    right = code(STEP)
    assert totp.verify(SECRET, typed.format(right[0], right[1:3], right[3:5], right[5]), now=NOW) == STEP


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "000000",
        code(STEP)[:5],
        code(STEP) + "0",
        code(STEP) + "\x00",
        code(STEP) + "\n",
        code(STEP).translate({48 + n: 0x0660 + n for n in range(10)}),
        code(STEP).translate({48 + n: 0xFF10 + n for n in range(10)}),
        "\ud800",
        " " * 1_000_000 + code(STEP),
        "9" * 5000,
        "-1",
    ],
)
def test_anything_else_is_refused(typed: str) -> None:
    assert totp.verify(SECRET, code(STEP), now=NOW) == STEP
    assert totp.verify(SECRET, typed, now=NOW) is None


def test_a_code_of_another_secret_is_refused() -> None:
    assert totp.verify(bytes(20), code(STEP), now=NOW) is None


@pytest.mark.parametrize("now", [0, 29, 30])
def test_the_first_moments_of_unix_time_do_no_harm(now: int) -> None:
    assert totp.verify(SECRET, code(now // 30), now=now) == now // 30


def test_the_address_to_scan_holds_what_an_application_needs() -> None:
    uri = totp.otpauth_uri(SECRET, issuer="Acme: Tools & Co", account="ada@example.com")
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/Acme Tools & Co:ada@example.com"
    assert parse_qs(parts.query) == {
        "secret": ["AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT"],
        "issuer": ["Acme Tools & Co"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


def test_a_secret_has_160_bits_and_is_typed_in_groups_of_four() -> None:
    assert totp.secret_text(totp.secret_from(SECRET)) == "AAAQ EAYE AUDA OCAJ BIFQ YDIO B4IB CEQT"
    with pytest.raises(ValueError, match="20 random bytes"):
        totp.secret_from(b"short")
