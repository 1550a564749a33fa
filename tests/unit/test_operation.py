"""The OpenAPI document as its readers see it: Markdown shows indented lines as code."""

from watchword.operation import openapi
from watchword.routes import OPERATIONS


def test_a_description_has_no_lines_that_would_be_shown_as_code() -> None:
    schemas = openapi(OPERATIONS, "https://auth.example.com")["components"]["schemas"]  # type: ignore[index]
    described = {name: schema.get("description", "") for name, schema in schemas.items()}
    assert "\n" in described["TrustInput"], "one of several lines"
    assert not [name for name, text in described.items() if "\n  " in text]
