"""What an application can get wrong when it makes a guard: it is refused when the program starts, never read as something else."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from watchword.guard import Guard, Policy, Trusted
from watchword.guard.fastapi import Guard as FastapiGuard
from watchword.guard.mcp import McpGuard

ISSUER = "https://auth.example.com"
API = "https://api.example.com/mcp"


async def nothing(*_: Any) -> None:
    """An application that is never called."""


MISUSES: dict[str, tuple[Callable[[Any], object], Any, str]] = {
    # A text holds its parts: an `acr` of "urn:watchword:aal2" would have been found in it.
    "a text for the levels of sign-in": (lambda given: Policy(acr=given), "urn:watchword:aal2-phr", "acr: name each"),
    "a text for scopes": (lambda given: Policy(scopes=given), "orders:read", "scopes: name each"),
    "a text for one of several scopes": (lambda given: Policy(any_scopes=given), "orders:read", "any_scopes: name each"),
    "an empty text for scopes": (lambda given: Policy(scopes=given), "", "scopes: name each"),
    "nothing for scopes": (lambda given: Policy(scopes=given), None, "scopes: name each"),
    "a text for audiences": (lambda given: Policy(audience=given), ISSUER, "audience: name each"),
    "a text for kinds": (lambda given: Policy(kinds=given), "session", "kinds: name each"),
    "an unknown kind": (lambda given: Policy(kinds=given), ("jwt",), "kinds: name some of api_token"),
    "an age below nothing": (lambda given: Policy(max_age=given), -1, "max_age"),
    "several scopes in one": (lambda given: FastapiGuard(ISSUER).require(given), "orders:read orders:write", "scopes"),
    "an empty scope": (lambda given: FastapiGuard(ISSUER).require(given), "", "scopes: name each"),
    "a list for a scope": (lambda given: FastapiGuard(ISSUER).require(given), ["orders:read"], "scopes: name each"),
    "a text for the scopes of sessions": (lambda given: Guard(ISSUER, sessions=given), "orders:read", "sessions: name"),
    "a text for the types of tokens": (lambda given: Trusted(issuer=ISSUER, types=given), "at+jwt", "types: name each"),
    "a text for prefixes": (lambda given: Trusted(issuer=ISSUER, opaque_prefixes=given), "gho_", "opaque_prefixes"),
    "an unknown rule for plain HTTP": (lambda given: Guard(ISSUER, plain_http=given), "never", "plain_http: one of"),
    "an unknown rule for silence": (lambda given: Guard(ISSUER, when_silent=given), "fail", "when_silent: one of"),
    "an empty audience": (lambda given: Guard(ISSUER, audience=given), "", "audience is empty"),
    "no issuer": (lambda given: Guard(given), [], "issuer: the address"),
    "nothing for an issuer": (lambda given: Guard(given), None, "issuer: the address"),
    "a text for the scopes of an MCP server": (
        lambda given: McpGuard(nothing, ISSUER, resource=API, scopes=given), "weather:read", "scopes: name each"
    ),
    "a text for the scopes of metadata": (
        lambda given: FastapiGuard(ISSUER).publish(FastAPI(), given), "orders:read", "scopes: name each"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "given", "words"), MISUSES.values(), ids=MISUSES.keys())
def test_a_guard_refuses_at_start(make: Callable[[Any], object], given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(given)


def test_lists_sets_and_tuples_of_names_are_taken() -> None:
    assert Policy(scopes=("a",), any_scopes=["b"], acr=frozenset({"2"})).acr == {"2"}  # type: ignore[arg-type]  # as callers do
    assert Guard(ISSUER, sessions=["orders:read"]).sessions == {"orders:read"}
