"""The OpenAPI document as its readers see it: Markdown shows indented lines as code, and patterns are ECMA-262's."""

import re
from collections.abc import Iterator

import pytest

from watchword.app.routes import OPERATIONS
from watchword.flows.clients.client_metadata import ClientInput
from watchword.http.operation import convert, openapi
from watchword.oauth.errors import OAuthError


def test_a_description_has_no_lines_that_would_be_shown_as_code() -> None:
    schemas = openapi(OPERATIONS, "https://auth.example.com")["components"]["schemas"]  # type: ignore[index]
    described = {name: schema.get("description", "") for name, schema in schemas.items()}
    assert "\n" in described["TrustInput"], "one of several lines"
    assert not [name for name, text in described.items() if "\n  " in text]


def patterns(schema: object) -> Iterator[str]:
    """Yield every pattern of a JSON Schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for member in schema.values():
            yield from patterns(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from patterns(member)


def test_every_operation_has_an_identifier_and_a_place_of_its_own() -> None:
    """OpenAPI 3.1 §4.8.10, `operationId`: generated clients name their functions by it."""
    names = [one.handler.__name__ for one in OPERATIONS]
    places = [(one.method, one.path) for one in OPERATIONS]
    assert (len(set(names)), len(set(places))) == (len(OPERATIONS), len(OPERATIONS))


def test_the_patterns_of_the_document_are_those_of_its_dialect_and_let_no_line_break_in() -> None:
    """ECMA-262, which JSON Schema names, has no anchors but ^ and $: a validator fails on others, or takes them for letters."""
    found = set(patterns(openapi(OPERATIONS, "https://auth.example.com")))
    assert found
    assert not [pattern for pattern in found if re.search(r"\\[AZz]|\(\?<?[P#iLmsux]", pattern)]
    given = {"name": "app", "default_acr_values": ["urn:acr:2"]}
    assert convert(given, ClientInput).default_acr_values == ("urn:acr:2",)
    with pytest.raises(OAuthError):
        convert({**given, "default_acr_values": ["urn:acr:2\n"]}, ClientInput)
