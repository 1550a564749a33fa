"""Paths that no form can carry: a caller who sends one is answered as any other."""

from typing import Any

import pytest
from tests.fixtures.live import Live

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.guard import Guard, Refused
from watchword.guard.presented import Presented
from watchword.oauth import token_format


@pytest.mark.parametrize("where", ["in the process", "over HTTP"])
async def test_no_path_makes_a_question_that_cannot_be_answered(live: Live, where: str) -> None:
    owner = ("application", "application:o")

    def made(path: str | None) -> str:
        wanted = TokenInput(name="t", scope="read", path=path)
        return live.run(api_tokens.create(live.runtime, wanted, owner=owner, actor="test")).secret

    anywhere, below, unknown = made(None), made("/orders"), token_format.make("ww", "a", bytes(32))
    issuer: Any = live.app if where.startswith("in ") else live.issuer
    guard = Guard(issuer, audience=live.issuer, clock=live.clock, cache_seconds=0)

    async def status(token: str, path: str) -> int:
        try:
            await guard.authenticate(Presented(authorization=(f"Bearer {token}",), path=path))
        except Refused as refused:
            return refused.status
        return 200

    for path, expected in (
        ("/orders/7", [200, 200, 401]),
        ("/orders/\0", [200, 401, 401]),
        ("/orders/\udcff", [200, 401, 401]),
        ("/orders/" + "x" * 60_000, [200, 200, 401]),
    ):
        assert [await status(token, path) for token in (anywhere, below, unknown)] == expected, path
    await guard.close()
