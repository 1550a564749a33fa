"""RFC 6238 Appendix B and RFC 4226 Appendix D: the specifications' own examples."""

import pytest

from watchword.credentials import totp

SECRET = b"12345678901234567890"

RFC_4226 = [
    "755224",
    "287082",
    "359152",
    "969429",
    "338314",
    "254676",
    "287922",
    "162583",
    "399871",
    "520489",
]
RFC_6238 = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


@pytest.mark.parametrize(("counter", "code"), list(enumerate(RFC_4226)))
def test_hotp(counter: int, code: str) -> None:
    assert totp.hotp(SECRET, counter) == code


@pytest.mark.parametrize(("now", "code"), RFC_6238.items())
def test_totp(now: int, code: str) -> None:
    assert totp.hotp(SECRET, totp.step_at(now), digits=8) == code
    assert totp.verify(SECRET, code[-6:], now=now) == now // 30
