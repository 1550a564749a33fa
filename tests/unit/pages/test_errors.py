"""What a person is told of a refusal."""

import pytest

from watchword.oauth.errors import OAuthError
from watchword.pages import errors, render
from watchword.pages.branding import Branding


@pytest.mark.parametrize(
    ("code", "field", "told"),
    [
        ("access_denied", None, "You can’t go here"),
        ("access_denied", "session", "Please sign in again"),
        ("access_denied", "csrf", "Please send that again"),
        ("invalid_request", None, "We couldn’t read that"),
        ("invalid_request", "email", "Something went wrong"),
        ("not_found", None, "Page not found"),
    ],
)
def test_a_refusal_is_told_by_what_can_be_done_about_it(code: str, field: str | None, told: str) -> None:
    name = errors.problem_of(OAuthError(code, "why", field=field))
    texts = render.locales(Branding())
    assert texts["en"].texts[f"error_page.{name}.title"] == told
    assert f"error_page.{name}.text" in texts["de"].texts
