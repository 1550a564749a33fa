"""Attacks on the authorization endpoint, each beside the request that an honest client makes."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.attacks.authorization import EVIL, begin, claims_of, is_refused_on_a_page
from tests.fixtures.accounts import add_totp, code_of, sign_out
from tests.fixtures.code_flow import (
    REDIRECT,
    answer_of,
    decide,
    obtain_code,
    redeem,
    register,
    request,
    sign_in,
)
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import ISSUER, Server

from watchword.credentials.methods import AAL1, AAL2
from watchword.flows.clients.client_registry import Registered


def is_honest(response: httpx.Response) -> bool:
    """Whether a request was taken: the person is asked to sign in."""
    return response.status_code == 303 and response.headers["location"].startswith(f"{ISSUER}/sign-in")


async def raw(server: Server, pairs: list[tuple[str, str]]) -> httpx.Response:
    """Send parameters as they are, in their order."""
    return await server.http.get("/authorize?" + urlencode(pairs))


@pytest.mark.parametrize(
    "change", [str.upper, lambda it: it + " ", lambda it: it + "\x00", lambda _: "' OR 1=1--", lambda _: "x"]
)
async def test_az_01_a_client_that_is_not_known_to_the_letter_gets_nothing(
    server: Server, change: Any
) -> None:
    client = await register(server)
    assert is_honest(await begin(server, client))
    assert is_refused_on_a_page(await begin(server, client, client_id=change(client.client.client_id)))


async def test_az_02_no_client_no_answer(server: Server) -> None:
    client = await register(server)
    assert is_honest(await begin(server, client))
    for nobody in (None, ""):
        assert is_refused_on_a_page(await begin(server, client, client_id=nobody))


@pytest.mark.parametrize(
    "name", ["client_id", "scope", "response_type", "code_challenge", "state", "redirect_uri"]
)
async def test_az_05_a_parameter_sent_twice_is_refused_in_either_order(server: Server, name: str) -> None:
    client = await register(server)
    pairs = list(request(client).items())
    assert is_honest(await raw(server, pairs))
    other = (name, EVIL if name == "redirect_uri" else "other")
    for doubled in ([*pairs, other], [other, *pairs], [*pairs, (name, request(client)[name])]):
        assert is_refused_on_a_page(await raw(server, doubled))


@pytest.mark.parametrize(
    "state",
    [
        "a b&c=d#e/?:@%41+",
        "äöü ✓ 漢字",
        "\"'<script>alert(1)</script>",
        "x" * 2000,
        "%0d%0aSet-Cookie: a=b",
        "{}[]\\|^`~",
    ],
)
async def test_az_07_a_state_comes_back_exactly(server: Server, state: str) -> None:
    client = await register(server)
    answer = answer_of(await begin(server, client, state=state, prompt="none"))
    assert answer["state"] == state


@pytest.mark.parametrize("state", ["a\r\nSet-Cookie: a=b", "a\nb", "a\x00", "x" * 2049, "a\x7f"])
async def test_az_07_a_state_that_could_not_come_back_exactly_is_refused(server: Server, state: str) -> None:
    client = await register(server)
    assert is_honest(await begin(server, client))
    assert is_refused_on_a_page(await begin(server, client, state=state))


async def test_az_12_a_sign_in_that_is_too_old_is_made_anew(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    server.clock.advance(2)
    assert "code" in answer_of(await begin(server, client, max_age="3600"))
    for age in ("1", "0"):
        assert is_honest(await begin(server, client, max_age=age))
        silent = await begin(server, client, max_age=age, prompt="none")
        assert answer_of(silent)["error"] == "login_required"
    back = await sign_in(server, await begin(server, client, max_age="1"))
    code = answer_of(await server.http.get(back.headers["location"]))["code"]
    tokens = (await redeem(server, client, code)).json()
    assert claims_of(tokens["id_token"])["auth_time"] == int(server.clock())


@pytest.mark.parametrize("age", ["-1", "abc", "1e9", "9" * 23, "1.5", " 1", "１", "0x1"])
async def test_az_12_an_age_that_is_no_number_is_refused(server: Server, age: str) -> None:
    client = await register(server)
    assert is_honest(await begin(server, client, max_age="60"))
    assert answer_of(await begin(server, client, max_age=age))["error"] == "invalid_request"


@pytest.mark.parametrize(
    "mode", ["banana", "web_message", "jwt", "query.jwt", "form_post.jwt", "fragment", "QUERY"]
)
async def test_az_14_an_answer_comes_only_by_a_mode_that_is_advertised(server: Server, mode: str) -> None:
    client = await register(server)
    for honest in ("query", "form_post"):
        assert is_honest(await begin(server, client, response_mode=honest))
    told = (await server.http.get("/.well-known/openid-configuration")).json()
    assert mode not in told["response_modes_supported"]
    assert answer_of(await begin(server, client, response_mode=mode))["error"] == "invalid_request"


async def test_az_19_no_script_of_another_site_reads_the_authorization_endpoint(server: Server) -> None:
    client = await register(server)
    foreign = {"origin": EVIL, "access-control-request-method": "GET"}
    assert (await server.http.options("/token", headers=foreign)).headers[
        "access-control-allow-origin"
    ] == "*"
    for response in (
        await server.http.options("/authorize", headers=foreign),
        await server.http.get("/authorize", params=request(client), headers=foreign),
        await server.http.get("/authorize", params=request(client, prompt="none"), headers=foreign),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


@in_turn(
    "changes",
    [
        {"state": "x" * 7000},
        {"nonce": "x" * 7000},
        {"acr_values": "x" * 7000},
        {"code_challenge": "x" * 7000},
        {"scope": " ".join(f"s{number}" for number in range(1200))},
        {"ui_locales": " ".join(["de"] * 1000)},
        {"prompt": " ".join(["login"] * 1000)},
        {"claims": "{" * 5000},
        {"claims": '{"userinfo": [}'},
        {"claims": json.dumps({"id_token": {f"c{number}": None for number in range(500)}})},
        {"login_hint": "x" * 7000},
        {"id_token_hint": "x" * 7000},
        {"dpop_jkt": "x" * 7000},
        {"max_age": "9" * 7000},
    ],
    ids=lambda changes: f"{next(iter(changes))} of {len(next(iter(changes.values())))}",
)
async def test_az_21_a_request_of_great_size_is_refused_and_hurts_nobody(
    server: Server, changes: dict[str, str]
) -> None:
    client = await register(server)
    refused = await begin(server, client, **changes)
    if refused.status_code == 303:
        assert answer_of(refused)["error"] in ("invalid_request", "invalid_scope")
    else:
        assert is_refused_on_a_page(refused)
    assert is_honest(await begin(server, client))


async def test_az_57_an_assurance_that_is_lacking_is_never_claimed(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)

    def essential(*values: str) -> str:
        return json.dumps({"id_token": {"acr": {"essential": True, "values": list(values)}}})

    assert "code" in answer_of(await begin(server, client, claims=essential(AAL1)))
    silent = answer_of(await begin(server, client, claims=essential(AAL2), prompt="none"))
    assert silent["error"] == "interaction_required"
    unknown = answer_of(await begin(server, client, claims=essential("urn:other:gold")))
    assert unknown["error"] == "unmet_authentication_requirements"
    asked = await begin(server, client, claims=essential(AAL2))
    assert "/step-up?return=" in asked.headers["location"]
    nothing_to_prove = await server.http.get(asked.headers["location"])
    resumed = await server.http.get(nothing_to_prove.headers["location"])
    assert answer_of(resumed)["error"] == "unmet_authentication_requirements"
    voluntary = answer_of(await begin(server, client, acr_values=AAL2, prompt="none"))
    tokens = (await redeem(server, client, voluntary["code"])).json()
    assert claims_of(tokens["id_token"])["acr"] == AAL1


async def test_ru_13_an_address_that_hides_in_another_parameter_is_never_used(server: Server) -> None:
    client = await register(server)
    pairs = list(request(client).items())
    without = [pair for pair in pairs if pair[0] != "redirect_uri"]
    good, evil = ("redirect_uri", REDIRECT), ("redirect_uri", EVIL)
    assert is_honest(await raw(server, pairs))
    for twisted in (
        [*without, good, evil],
        [*without, evil, good],
        [*without, ("redirect_uri[]", EVIL)],
        [*without, ("Redirect_Uri", EVIL)],
        [*without, ("redirect_uri", f"{REDIRECT},{EVIL}")],
        [*without, ("redirect_uri", f"{REDIRECT} {EVIL}")],
    ):
        assert is_refused_on_a_page(await raw(server, twisted))
    beside = await raw(server, [*pairs, ("redirect_uri[]", EVIL), ("Redirect_Uri", EVIL), ("prompt", "none")])
    assert answer_of(beside)["error"] == "login_required"


async def test_ru_15_an_openid_request_names_its_address(server: Server) -> None:
    client = await register(server)
    assert is_honest(await begin(server, client))
    for nothing in (None, ""):
        assert is_refused_on_a_page(await begin(server, client, redirect_uri=nothing))
    assert is_honest(await begin(server, client, redirect_uri=None, scope="orders:read")), "RFC 6749 §3.1.2.3"


async def test_pk_02_a_code_is_protected_by_a_challenge_or_by_a_nonce_of_who_may(server: Server) -> None:
    strict, relaxed = await register(server), await register(server, require_pkce=False)
    no_challenge = {"code_challenge": None, "code_challenge_method": None}
    assert is_honest(await begin(server, strict))
    assert answer_of(await begin(server, strict, **no_challenge))["error"] == "invalid_request"
    assert is_honest(await begin(server, relaxed, **no_challenge))
    for changes in ({"nonce": None}, {"nonce": ""}, {"scope": "orders:read"}):
        refused = await begin(server, relaxed, **no_challenge, **changes)
        assert answer_of(refused)["error"] == "invalid_request"
    half = await begin(server, relaxed, code_challenge=None)
    assert answer_of(half)["error"] == "invalid_request", "a method without a challenge is a downgrade"


@pytest.mark.parametrize("nonce", ["x" * 500, "ä✓ 漢字 \"'<>&=#%41+", None])
async def test_id_02_a_nonce_comes_back_exactly_or_not_at_all(server: Server, nonce: str | None) -> None:
    client = await register(server)
    tokens = (await redeem(server, client, (await obtain_code(server, client, nonce=nonce))["code"])).json()
    assert claims_of(tokens["id_token"]).get("nonce") == nonce


async def test_every_answer_names_the_issuer(server: Server) -> None:
    client = await register(server)
    for changes in ({"prompt": "none"}, {"response_type": "token"}, {"scope": "nothing"}, {"max_age": "x"}):
        assert answer_of(await begin(server, client, **changes))["iss"] == server.settings.issuer
    posted = await begin(server, client, prompt="none", response_mode="form_post")
    assert f'name="iss" value="{server.settings.issuer}"' in posted.text


async def in_a_trusted_browser(server: Server, client: Registered) -> tuple[Person, bytes]:
    """Return ada, who has agreed to a client and is signed in with a second factor, and the key of that."""
    await obtain_code(server, client)
    person = Person(server, server.http)
    key = await add_totp(person)
    server.clock.advance(31)
    await sign_out(person)
    await person.sign_in()
    await person.send({"code": code_of(server, key), "remember": "yes"}, having="method")
    return person, key


async def test_a_step_up_comes_back_to_the_request_that_asked_for_it(server: Server) -> None:
    client = await register(server)
    person, key = await in_a_trusted_browser(server, client)
    essential = json.dumps({"id_token": {"acr": {"essential": True, "values": [AAL2]}}})
    for asked in ({"claims": essential}, {"acr_values": AAL2}):
        server.clock.advance(31)
        await sign_out(person)
        # In a trusted browser the password is enough, and is not called more than it is
        await person.sign_in()
        begun = await begin(server, client, **asked)
        assert "/step-up?return=" in begun.headers["location"]
        await person.open(begun.headers["location"])
        stepped = await person.send({"code": code_of(server, key)}, having="method")
        answer = answer_of(stepped)
        assert answer["state"] == "st&te=1", "the request was not lost"
        tokens = (await redeem(server, client, answer["code"])).json()
        told = claims_of(tokens["id_token"])
        assert (told["acr"], told["auth_time"]) == (AAL2, int(server.clock()))
        assert claims_of(tokens["access_token"])["acr"] == AAL2


async def test_az_57_a_consent_answers_nothing_that_asks_for_more_than_was_proved_since(
    server: Server,
) -> None:
    client = await register(server)
    person, key = await in_a_trusted_browser(server, client)
    asked = {
        "claims": json.dumps({"id_token": {"acr": {"essential": True, "values": [AAL2]}}}),
        "prompt": "consent",
    }
    assert "code" in answer_of(await decide(server, await begin(server, client, **asked)))
    page = await begin(server, client, **asked)
    server.clock.advance(31)
    await sign_out(person)
    await person.sign_in()  # with the password alone, in another tab
    stepping = await decide(server, page)
    assert "/step-up?return=" in stepping.headers["location"], "the page was for a sign-in that is over"
    await person.open(stepping.headers["location"])
    again = await person.send({"code": code_of(server, key)}, having="method")
    tokens = (await redeem(server, client, answer_of(await decide(server, again))["code"])).json()
    assert claims_of(tokens["id_token"])["acr"] == AAL2


async def test_prompts_combine(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    assert "code" in answer_of(await begin(server, client, prompt="none"))
    again = await sign_in(server, await begin(server, client, prompt="login consent"))
    page = await server.http.get(again.headers["location"])
    assert "code" in answer_of(await decide(server, page)), "asked for both, one after the other"
    asked = await begin(server, client, prompt="consent")
    assert 'value="approve"' in asked.text, "although it was agreed to before"
    chosen = await begin(server, client, prompt="select_account")
    person = Person(server, server.http)
    await person.open(chosen.headers["location"])
    form = person.form(having="return")
    account = re.search(r'name="account" value="([^"]+)"', person.page.text if person.page else "")
    assert account is not None
    assert "code" in answer_of(await person.send({**form, "account": account[1]}, having="return"))
    for wrong in ("none login", "none consent", "banana", "login banana"):
        assert answer_of(await begin(server, client, prompt=wrong))["error"] == "invalid_request"


async def test_wishes_about_the_pages_are_honoured(server: Server) -> None:
    client = await register(server)
    begun = await begin(server, client, login_hint="ada@example.com", ui_locales="fr de en", display="touch")
    page = await server.http.get(begun.headers["location"])
    assert 'lang="de"' in page.text
    assert 'value="ada@example.com"' in page.text
    for unknown in ({"ui_locales": "xx-YY"}, {"display": "hologram"}, {"login_hint": '"><script>'}):
        plain = await server.http.get((await begin(server, client, **unknown)).headers["location"])
        assert plain.status_code == 200
        assert "<script>" not in plain.text.replace("<script ", "")


async def test_a_request_without_scope_gets_the_registered_one(server: Server) -> None:
    client = await register(server)
    answer = await obtain_code(server, client, scope=None)
    assert (await redeem(server, client, answer["code"])).json()["scope"] == "openid profile orders:read"
