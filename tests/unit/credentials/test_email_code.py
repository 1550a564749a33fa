"""One-time codes by e-mail: bound to purpose and person, bounded in time and attempts. Rows LG-21, LG-22, MF-02."""

import pytest

from watchword.credentials import email_code
from watchword.credentials.email_code import Challenge

KEY = bytes(range(32))
CODE = email_code.generate(bytes(range(16)))
NOW = 1_800_000_000


def digest(typed: str, purpose: str = "sign-in", subject: str = "user_1") -> bytes:
    return email_code.digest(KEY, typed, purpose=purpose, subject=subject)


def challenge(*, attempts: int = 1, used: bool = False) -> Challenge:
    return Challenge(digest(CODE), expires_at=NOW + email_code.LIFETIME, attempts=attempts, used=used)


@pytest.mark.parametrize(
    ("sent", "typed", "now", "outcome"),
    [
        pytest.param(challenge(), CODE, NOW, "accepted", id="the code is accepted"),
        pytest.param(challenge(), CODE, NOW + 599, "accepted", id="until its last second"),
        pytest.param(challenge(), CODE, NOW + 600, "expired", id="and not after"),
        pytest.param(challenge(attempts=5), CODE, NOW, "accepted", id="the fifth attempt may be right"),
        pytest.param(challenge(attempts=6), CODE, NOW, "exhausted", id="the sixth is not looked at"),
        pytest.param(challenge(attempts=10**9), "00000000", NOW, "exhausted", id="nor any after it"),
        pytest.param(challenge(used=True), CODE, NOW, "used", id="a code is good once"),
        pytest.param(challenge(), "00000000", NOW, "wrong", id="another code is wrong"),
        pytest.param(challenge(), "", NOW, "wrong", id="nothing is wrong"),
        pytest.param(None, CODE, NOW, "wrong", id="where none was sent, every code is wrong"),
        pytest.param(None, "", NOW, "wrong", id="where none was sent, nothing is wrong"),
    ],
)
def test_an_attempt_is_judged(sent: Challenge | None, typed: str, now: int, outcome: str) -> None:
    assert email_code.decide(sent, digest(typed), now) == outcome


def test_a_code_is_for_one_purpose_and_one_person() -> None:
    """LG-21, LG-22."""
    assert email_code.decide(challenge(), digest(CODE), NOW) == "accepted"
    for other in (
        digest(CODE, purpose="reset"),
        digest(CODE, subject="user_2"),
        digest(CODE, "sign-i", "nuser_1"),
    ):
        assert email_code.decide(challenge(), other, NOW) == "wrong"


@pytest.mark.parametrize(
    "typed", [f"{CODE[:4]} {CODE[4:]}", f" {CODE}\n", f"{CODE[:4]}-{CODE[4:]}", email_code.grouped(CODE)]
)
def test_a_code_may_be_typed_in_groups(typed: str) -> None:
    assert digest(typed) == digest(CODE)


@pytest.mark.parametrize(
    "typed", ["\x00", "\ud800", CODE + "0", CODE[:7], "９" * 8, "1" * 5000, CODE + "\x00"]
)
def test_what_is_no_code_is_wrong(typed: str) -> None:
    assert email_code.decide(challenge(), digest(typed), NOW) == "wrong"


def test_a_code_has_eight_digits_and_leading_zeros() -> None:
    assert email_code.generate(bytes(16)) == "00000000"
    assert len(CODE) == 8
    assert CODE.isdigit()


def test_too_little_randomness_or_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="16 random bytes"):
        email_code.generate(b"1")
    with pytest.raises(ValueError, match="32 bytes"):
        email_code.digest(b"short", CODE, purpose="sign-in", subject="user_1")
