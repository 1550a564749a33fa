"""The policy pages are served under."""

import pytest

from watchword.pages.security import content_security_policy, source


def test_nothing_is_allowed_but_what_the_pages_need() -> None:
    """AZ-17, AZ-20."""
    policy = content_security_policy().split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert not [directive for directive in policy if "unsafe" in directive or "*" in directive]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://app.example/cb?x=1#y", "https://app.example"),
        ("https://APP.example:8443/cb", "https://app.example:8443"),
        ("http://127.0.0.1:51004/cb", "http://127.0.0.1:51004"),
        ("http://[::1]:51004/cb", "http:"),
        ("com.example.app:/cb", "com.example.app:"),
    ],
)
def test_a_form_may_lead_to_the_origin_it_was_checked_for(uri: str, expected: str) -> None:
    assert source(uri) == expected
    assert f"form-action 'self' {expected};" in content_security_policy(form_action=[uri]) + ";"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "app.example",
        "/relative",
        "javascript:alert(1)",
        "data:text/html,x",
        "filesystem:https://a.example/temporary/x",
        "https:",
        "https://user@evil.example/",
        "https://a.example; script-src *",
        "https://a.example, default-src *",
        "https://a.example\nx: y",
    ],
)
def test_an_address_that_is_no_source_cannot_widen_or_add_to_the_policy(uri: str) -> None:
    assert source("https://a.example/cb") == "https://a.example"
    with pytest.raises(ValueError):
        source(uri)
    with pytest.raises(ValueError):
        content_security_policy(form_action=[uri])
