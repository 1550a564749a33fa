"""What an application can get wrong when it makes a guard: refused when the program starts, or named in its log; never read as something else."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from tests.fixtures.live import Live
from tests.fixtures.servers import free_port

from watchword.guard import Guard, Policy, Refused, Trusted
from watchword.guard.fastapi import Guard as FastapiGuard
from watchword.guard.mcp import McpGuard
from watchword.guard.presented import Presented
from watchword.testing.kit import Auth

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


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the guard has logged."""
    return lambda: [one.getMessage() for one in caplog.records if one.name == "watchword.guard"]


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
async def test_who_runs_the_api_is_told_why_tokens_cannot_be_checked_and_callers_are_not(
    auth: Auth, warnings: Callable[[], list[str]], kind: Literal["jwt", "opaque"]
) -> None:
    token = auth.token("orders:read", kind=kind)
    presented = Presented(authorization=(f"Bearer {token}",))
    assert await auth.guard().authenticate(presented)
    guard = Guard(f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await guard.authenticate(presented)
        assert (refused.value.status, refused.value.description) == (
            503,
            "The token cannot be checked right now.",
        )
    (told,) = warnings()
    assert f"{guard.issuer}/.well-known/" in told
    assert "does not answer" in told
    assert token not in told


async def test_an_issuer_with_a_slash_too_much_is_named_as_the_reason(
    live: Live, warnings: Callable[[], list[str]]
) -> None:
    guard = Guard(live.issuer + "/")
    with pytest.raises(Refused):
        await guard.authenticate(Presented(authorization=("Bearer wwa_" + "0" * 30 + "2C8GjS",)))
    (told,) = warnings()
    assert f"{live.issuer + '/'!r}" in told
    assert "letter by letter" in told
