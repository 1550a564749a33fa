"""RFC 9126: a pushed request is used up with what comes of it: a sign-in under way, a consent page, a code, a refusal."""

from typing import Any

import pytest
from tests.fixtures.code_flow import answer_of
from tests.fixtures.servers import Server
from tests.flows.test_fapi2 import Bank

from watchword.flows import authorization, sessions
from watchword.flows.users import account_access
from watchword.store import faults


@pytest.mark.parametrize("wants", ["a sign-in", "consent", "an answer", "a refusal"])
async def test_a_pushed_request_that_the_database_failed_is_there_when_the_page_is_loaded_again_and_once(
    server: Server, wants: str
) -> None:
    bank = await Bank(server).register()
    if wants in ("consent", "an answer"):
        await bank.code()
    prompt = {"consent": "consent", "a refusal": "none"}.get(wants)
    outcomes = []
    for turn in range(1, 6):
        request_uri = (await bank.push(prompt=prompt)).json()["request_uri"]
        faults.arm(f"commit.begun=error@{turn}")
        try:
            first = await bank.begin(request_uri)
        finally:
            faults.arm(None)
        outcomes.append(first.status_code)
        if first.status_code == 503:
            first = await bank.begin(request_uri)
        if wants == "an answer":
            assert "code" in answer_of(first)
        assert first.status_code == 303
        assert (await bank.begin(request_uri)).status_code == 400, "PA-51"
    assert outcomes[-1] == 303, "every commit of the request failed once"
    # PostgreSQL commits the single statement of a refusal by itself.
    assert outcomes[0] == 503 or wants == "a refusal"


@pytest.mark.parametrize(
    ("taken_back", "error"), [("the consent", "consent_required"), ("the sign-in", "login_required")]
)
async def test_a_pushed_request_is_refused_once_by_what_is_taken_back_while_it_is_answered(
    server: Server, taken_back: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await Bank(server).register()
    await bank.code()
    honest, late = [(await bank.push(prompt="none")).json()["request_uri"] for _ in range(2)]
    assert "code" in answer_of(await bank.begin(honest))
    answer = authorization.answer

    async def taken_back_just_now(
        runtime: Any, pushed: Any, asked: Any, session: Any, agreed: Any, remember: Any
    ) -> Any:
        if taken_back == "the consent":
            await account_access.withdraw(runtime, session.user_id, asked.client_id, session=session)
        else:
            await sessions.end(runtime, session)
        return await answer(runtime, pushed, asked, session, agreed, remember)

    monkeypatch.setattr(authorization, "answer", taken_back_just_now)
    assert answer_of(await bank.begin(late))["error"] == error
    assert (await bank.begin(late)).status_code == 400, "PA-51"
