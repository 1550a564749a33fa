"""The page that says what a token is has a text for whatever can be found, in every language."""

import pytest

from watchword.oauth import token_format
from watchword.pages import languages

REASONS = (
    "active", "unknown", "nothing", "mistyped", "elsewhere", "revoked", "expired", "rotated", "replaced", "owner_disabled", "wrong_address",
    "quota_exhausted", "rate_limited", "client_ended", "subject_ended", "grant_ended", "parent_ended", "foreign", "other_type", "signature",
    "too_early", "malformed",
)  # fmt: skip


@pytest.mark.parametrize("locale", sorted(languages.available()))
def test_every_kind_and_every_reason_has_a_text_and_no_text_is_left_over(locale: str) -> None:
    texts = languages.available()[locale].texts
    for part, known in (("kind", ("nothing", "jwt", "access_jwt", *token_format.KINDS)), ("reason", REASONS)):
        begin = f"console_check.{part}_"
        assert {name.removeprefix(begin) for name in texts if name.startswith(begin)} == set(known)
