"""The authorization code flow: sign-in, consent, code, tokens; and what must not work about it."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from tests.fixtures.code_flow import (
    REDIRECT,
    VERIFIER,
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
    sign_in,
)
from tests.fixtures.holders import dpop
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic, together
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows import authorization, sessions
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_access, accounts
from watchword.jose import jwk, jwt
from watchword.store import faults
from watchword.store.database import Transaction
from watchword.store.sessions import Session


async def test_the_whole_flow_gives_tokens_that_say_what_was_granted(server: Server) -> None:
    client = await register(server)
    answer = await obtain_code(server, client)
    assert answer["state"] == "st&te=1"
    assert answer["iss"] == server.settings.issuer, "AZ-13"
    tokens = (await redeem(server, client, answer["code"])).json()
    assert tokens["scope"] == "openid orders:read"
    keys = jwk.parse_set((await server.http.get("/.well-known/jwks.json")).json())
    claims = jwt.decode(
        tokens["id_token"],
        keys,
        algorithms=("ES256",),
        typ="JWT",
        issuer=server.settings.issuer,
        audience=client.client.client_id,
        now=int(server.clock()),
    )
    assert claims["nonce"] == "n-1"
    assert claims["amr"] == ["pwd"]
    assert claims["auth_time"] <= claims["iat"]
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    info = await server.http.get("/userinfo", headers=headers)
    assert info.json() == {"sub": claims["sub"]}


async def test_a_second_request_needs_neither_sign_in_nor_consent(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    silent = await server.http.get("/authorize", params=request(client, prompt="none"))
    assert "code" in answer_of(silent)
    wider = await server.http.get("/authorize", params=request(client, prompt="none", scope="openid profile"))
    assert answer_of(wider)["error"] == "consent_required", "AZ-23"


async def test_az_10_prompt_none_without_a_session_is_answered_without_a_page(server: Server) -> None:
    client = await register(server)
    answer = answer_of(await server.http.get("/authorize", params=request(client, prompt="none")))
    assert (answer["error"], answer["state"]) == ("login_required", "st&te=1")


async def test_az_10_prompt_none_leads_nobody_to_a_page_where_a_second_factor_is_set_up(
    server: Server,
) -> None:
    client = await register(server)
    await obtain_code(server, client)
    silent = request(client, prompt="none")
    assert "code" in answer_of(await server.http.get("/authorize", params=silent)), "the honest variant"
    server.runtime.settings = msgspec.structs.replace(server.settings, second_factor_required="always")
    refused = answer_of(await server.http.get("/authorize", params=silent))
    assert (refused["error"], refused["state"]) == ("interaction_required", "st&te=1")


async def signs_out(runtime: Runtime, session: Session, _client: str) -> None:
    await sessions.end(runtime, session)


async def withdraws(runtime: Runtime, session: Session, client: str) -> None:
    await account_access.withdraw(runtime, session.user_id, client, session=session)


@pytest.mark.parametrize(("act", "error"), [(signs_out, "login_required"), (withdraws, "consent_required")])
async def test_az_10_prompt_none_is_answered_without_a_page_where_the_person_takes_it_back_meanwhile(
    server: Server,
    act: Callable[[Runtime, Session, str], Awaitable[None]],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = await register(server)
    await obtain_code(server, client)
    answer, silent = authorization.answer, request(client, prompt="none")
    assert "code" in answer_of(await server.http.get("/authorize", params=silent)), "the honest variant"

    async def taken_back_just_now(
        runtime: Runtime, kept: None, asked: Any, session: Session, *agreed: Any
    ) -> str | None:
        await act(runtime, session, asked.client_id)
        return await answer(runtime, kept, asked, session, *agreed)

    monkeypatch.setattr(authorization, "answer", taken_back_just_now)
    refused = answer_of(await server.http.get("/authorize", params=silent))
    assert (refused["error"], refused["state"]) == (error, "st&te=1")


async def test_az_11_prompt_login_asks_for_credentials_again(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    begun = await server.http.get("/authorize", params=request(client, prompt="login"))
    assert "/sign-in?return=" in begun.headers["location"]
    server.clock.advance(5)
    for interaction in await under_way(server):
        resumed = await server.http.get(f"/authorize/resume?interaction={interaction}")
        assert resumed.status_code != 303 or "code=" not in resumed.headers["location"], (
            "the old session is not enough"
        )
    shown = await server.http.get(begun.headers["location"])
    assert 'type="password"' in shown.text
    back = await sign_in(server, begun)
    assert "code" in answer_of(await server.http.get(back.headers["location"]))


async def test_az_11_a_sign_in_answers_the_one_request_that_asked_for_it(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    begun, _ = [await server.http.get("/authorize", params=request(client, prompt="login")) for _ in range(2)]
    server.clock.advance(5)
    own = (await sign_in(server, begun)).headers["location"]
    (other,) = [one for one in await under_way(server) if one not in own]
    resumed = await server.http.get(f"/authorize/resume?interaction={other}")
    assert "/sign-in?return=" in resumed.headers["location"]
    assert "code" in answer_of(await server.http.get(own))


async def under_way(server: Server) -> list[str]:
    """Return the identifiers of the requests under way."""

    async def listed(tx: Transaction) -> list[str]:
        return [row["id"] for row in await tx.all("SELECT id FROM interactions WHERE used_at IS NULL")]

    return await server.runtime.database.read(listed)


async def test_az_22_denying_says_so_to_the_client(server: Server) -> None:
    client = await register(server)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=request(client)))
    answer = answer_of(await decide(server, await server.http.get(back.headers["location"]), "deny"))
    assert answer["error"] == "access_denied"
    assert "code" not in answer


async def test_one_of_several_decisions_at_once_reaches_the_client(server: Server) -> None:
    client = await register(server)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=request(client)))
    page = await server.http.get(back.headers["location"])
    made = await together(*(decide(server, page, one) for one in ("deny", "approve") * 3))
    assert sorted(one.status_code for one in made) == [303, *[400] * 5]


@in_turn(
    "uri",
    [
        "https://evil.example/cb",
        REDIRECT + "/x",
        REDIRECT + "?next=1",
        REDIRECT + "#f",
        "https://app.example.com.evil.example/cb",
        "https://app.example.com/x/../cb",
        "javascript:alert(1)",
        "http://app.example.com/cb",
        REDIRECT + "\n",
        "http://[",
        None,
    ],
)
async def test_ru_nothing_is_ever_sent_to_an_address_that_was_not_verified(
    server: Server, uri: str | None
) -> None:
    client = await register(server)
    assert (await server.http.get("/authorize", params=request(client))).status_code == 303
    shown = await server.http.get("/authorize", params=request(client, redirect_uri=uri))
    assert shown.status_code == 400
    assert "location" not in shown.headers


@in_turn(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "orders:raed"}, "invalid_scope"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"max_age": "abc"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
    ids=lambda value: str(value),
)
async def test_a_wrong_request_is_answered_to_the_client(
    server: Server, changes: Any, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await register(server)
    answer = answer_of(await server.http.get("/authorize", params=request(client, **changes)))
    assert answer["error"] == error
    if "scope" in changes:
        assert "orders:raed" not in str(answer), "what was sent is not repeated"
        assert "not allowed: orders:raed" in capsys.readouterr().err, "but the log names it"
    assert answer["iss"] == server.settings.issuer


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "b" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://other.example"},
        {"redirect_uri": ""},
    ],
    ids=["PK-04 wrong verifier", "PK-04 no verifier", "other redirect_uri", "no redirect_uri"],
)
async def test_a_code_is_worth_nothing_without_what_it_is_bound_to(
    server: Server, changes: dict[str, str]
) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    refused = await redeem(server, client, code, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await redeem(server, client, code)).status_code == 200


async def test_dp_04_a_code_for_a_key_is_redeemed_with_its_proof_and_no_other(server: Server) -> None:
    client, key = await register(server), jwk.generate("ES256")
    code = (await obtain_code(server, client, dpop_jkt=key.thumbprint))["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    for signer in (None, jwk.generate("ES256")):
        headers = {"authorization": basic(client), **(dpop(server, signer) if signer else {})}
        refused = await server.http.post("/token", data=form, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    headers = {"authorization": basic(client), **dpop(server, key)}
    assert (await server.http.post("/token", data=form, headers=headers)).json()["token_type"] == "DPoP"


async def test_co_01_a_code_works_once_and_its_replay_ends_what_it_bought(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    tokens = (await redeem(server, client, code)).json()
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"] is True
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json() == {
        "active": False
    }
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_co_04_of_twenty_redemptions_at_once_one_wins(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    answers = await together(*(redeem(server, client, code) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_a_decision_that_the_database_failed_to_keep_is_kept_when_the_form_is_sent_again_once(
    server: Server,
) -> None:
    client = await register(server)
    await obtain_code(server, client)
    outcomes = []
    for turn in range(1, 5):
        asked = request(client, prompt="consent")
        page = await server.http.get("/authorize", params=asked)
        faults.arm(f"commit.begun=error@{turn}")
        try:
            first = await decide(server, page)
        finally:
            faults.arm(None)
        outcomes.append(first.status_code)
        if first.status_code == 503:
            first = await decide(server, page)
        assert (await redeem(server, client, answer_of(first)["code"])).status_code == 200
        assert (await decide(server, page)).status_code == 400, "it was answered"
    assert (outcomes[0], outcomes[-1]) == (503, 303), "every commit of the decision failed once"


async def test_a_request_that_was_resumed_as_the_database_failed_is_resumed_when_the_page_is_loaded_again(
    server: Server,
) -> None:
    client = await register(server)
    await obtain_code(server, client)
    begun = await server.http.get("/authorize", params=request(client, prompt="login"))
    back = (await sign_in(server, begun)).headers["location"]
    faults.arm("commit.begun/answer_with_code=error,commit.begun/create_grant=error")
    try:
        assert (await server.http.get(back)).status_code == 503
    finally:
        faults.arm(None)
    again = await server.http.get(back)
    assert (await redeem(server, client, answer_of(again)["code"])).status_code == 200


async def test_az_50_a_code_expires_after_a_minute(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    server.clock.advance(60)
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"


async def test_a_code_of_another_client_is_refused_and_lives_on(server: Server) -> None:
    client, thief = await register(server), await register(server)
    code = (await obtain_code(server, client))["code"]
    assert (await redeem(server, thief, code)).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, code)).status_code == 200


async def test_se_11_a_request_under_way_belongs_to_one_browser(server: Server) -> None:
    client = await register(server)
    begun = await server.http.get("/authorize", params=request(client))
    resume = await sign_in_path(server, begun)
    server.http.cookies.clear()
    assert (await server.http.get(resume)).status_code == 400


async def sign_in_path(server: Server, begun: httpx.Response) -> str:
    """Return where the sign-in would lead back to."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, begun)
    return str(back.headers["location"])


async def test_a_pushed_request_works_once_for_its_client(server: Server) -> None:
    client, other = await register(server), await register(server)
    await obtain_code(server, client)
    pushed = await server.post("/par", client, **request(client))
    assert pushed.status_code == 201
    uri = pushed.json()["request_uri"]
    stolen = {"client_id": other.client.client_id, "request_uri": uri}
    assert (await server.http.get("/authorize", params=stolen)).status_code == 400, "PA-02"
    own = {"client_id": client.client.client_id, "request_uri": uri}
    assert "code" in answer_of(await server.http.get("/authorize", params=own))
    assert (await server.http.get("/authorize", params=own)).status_code == 400


async def test_nobody_pushes_a_request_for_another_client(server: Server) -> None:
    """RFC 9126 §2.1: a client_id beside the credentials is that of the client that they prove."""
    client, other = await register(server), await register(server)
    assert (await server.post("/par", client, **request(client))).status_code == 201
    refused = await server.post("/par", client, **request(other))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


async def test_a_hint_that_was_issued_to_another_client_is_none(server: Server) -> None:
    client, other = await register(server), await register(server)
    code = (await obtain_code(server, client))["code"]
    hint = (await redeem(server, client, code)).json()["id_token"]
    own = await server.http.get("/authorize", params=request(client, prompt="none", id_token_hint=hint))
    assert "code" in answer_of(own)
    consent = await server.http.get("/authorize", params=request(other))
    assert "code" in answer_of(await decide(server, consent))
    refused = await server.http.get("/authorize", params=request(other, prompt="none", id_token_hint=hint))
    assert answer_of(refused)["error"] == "invalid_request"


async def test_form_post_sends_the_same_by_a_form(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    page = await server.http.get(
        "/authorize", params=request(client, response_mode="form_post", state='"><script>')
    )
    assert page.status_code == 200
    assert f'action="{REDIRECT}"' in page.text
    assert "<script>" not in page.text.replace("<script src", ""), "AZ-15"
    assert 'name="code"' in page.text
