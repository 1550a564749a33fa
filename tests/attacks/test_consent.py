"""Attacks on consent: pages that others made, forms that say more than was shown, another person in the same browser."""

import html
import json
import re
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
import pytest
from tests.attacks.authorization import EVIL, begin, claims_of, is_refused_on_a_page
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
from tests.fixtures.servers import ISSUER, Server, open_server
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts
from watchword.settings import ScopeText
from watchword.store.audit import events


async def consent_page(
    server: Server, client: Registered, name: str = "ada", **changes: str | None
) -> httpx.Response:
    """Sign in for a request and return the consent page."""
    back = await sign_in(server, await begin(server, client, **changes), name)
    return await server.http.get(back.headers["location"])


def fields(page: httpx.Response) -> dict[str, str]:
    """Return the hidden fields of the consent form."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return {name: html.unescape(value) for name, value in found}


async def make_people(server: Server, *names: str) -> dict[str, str]:
    """Make accounts; return their identifiers by name."""
    made = {}
    for name in names:
        user = await accounts.create(server.runtime, username=name, password=PASSWORD, actor="test")
        made[name] = user.id
    return made


async def test_az_53_a_consent_form_is_good_for_the_request_that_it_showed(server: Server) -> None:
    await make_people(server, "ada")
    modest, greedy = await register(server), await register(server)
    one = await consent_page(server, modest, scope="openid")
    other = await begin(server, greedy, scope="openid profile orders:read")
    mixed = fields(one) | {"interaction": fields(other)["interaction"], "decision": "approve"}
    refused = await server.http.post("/authorize/consent", data=mixed)
    assert (refused.status_code, "location" in refused.headers) == (400, False)
    for page, client in ((one, modest), (other, greedy)):
        code = answer_of(await decide(server, page))["code"]
        assert (await redeem(server, client, code)).status_code == 200


async def test_az_54_what_a_form_says_beside_the_decision_does_not_count(server: Server) -> None:
    await make_people(server, "ada")
    client, other = await register(server), await register(server)
    page = await consent_page(server, client, scope="openid")
    edited = fields(page) | {
        "decision": "approve",
        "client_id": other.client.client_id,
        "redirect_uri": EVIL,
        "scope": "orders:read",
        "state": "other",
    }
    answer = answer_of(await server.http.post("/authorize/consent", data=edited))
    assert answer["state"] == "st&te=1"
    assert (await redeem(server, other, answer["code"])).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, answer["code"])).json()["scope"] == "openid"


async def test_az_55_another_person_in_the_same_browser_is_asked_anew(server: Server) -> None:
    people = await make_people(server, "ada", "grace")
    client = await register(server)
    page = await consent_page(server, client)
    await sign_in(server, await begin(server, client, prompt="login"), "grace")
    again = await decide(server, page)
    assert again.status_code == 200
    assert "grace" in again.text
    tokens = (await redeem(server, client, answer_of(await decide(server, again))["code"])).json()
    assert claims_of(tokens["id_token"])["sub"] == people["grace"]


async def test_az_56_a_hint_at_another_person_gets_no_code_for_this_one(server: Server) -> None:
    await make_people(server, "grace")
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()["id_token"]
    assert "code" in answer_of(await begin(server, client, prompt="none", id_token_hint=first))
    await sign_in(server, await begin(server, client, prompt="login"), "grace")
    silent = answer_of(await begin(server, client, prompt="none", id_token_hint=first))
    assert (silent["error"], "code" in silent) == ("login_required", False)
    for forged in (first[:-4] + "AAAA", "x.y.z", "garbage"):
        assert (
            answer_of(await begin(server, client, prompt="none", id_token_hint=forged))["error"]
            == "invalid_request"
        )
    sub = json.dumps({"id_token": {"sub": {"value": claims_of(first)["sub"]}}})
    assert answer_of(await begin(server, client, prompt="none", claims=sub))["error"] == "login_required"


@pytest.mark.parametrize("subject_type", ["public", "pairwise"])
async def test_az_56_a_person_is_asked_for_by_the_name_that_the_client_knows(
    server: Server, subject_type: str
) -> None:
    client = await register(server, subject_type=subject_type)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()["id_token"]
    for sub, error in ((claims_of(first)["sub"], None), ("somebody-else", "login_required")):
        asked = json.dumps({"id_token": {"sub": {"value": sub}}})
        assert answer_of(await begin(server, client, prompt="none", claims=asked)).get("error") == error
    assert "code" in answer_of(await begin(server, client, prompt="none", id_token_hint=first))


async def test_az_59_a_form_of_another_site_gets_what_a_link_gets(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    foreign = {"origin": EVIL, "sec-fetch-site": "cross-site"}
    agreed = await server.http.post("/authorize", data=request(client), headers=foreign)
    assert "code" in answer_of(agreed), "as by GET, and to the registered address"
    wider = await server.http.post(
        "/authorize", data=request(client, scope="openid profile"), headers=foreign
    )
    assert wider.status_code == 200
    assert 'value="approve"' in wider.text
    cookies = dict(server.http.cookies)
    server.http.cookies.clear()  # browsers send none that are SameSite=Lax with such a form
    bounced = await server.http.post("/authorize", data=request(client), headers=foreign)
    assert bounced.headers["location"].startswith(f"{ISSUER}/authorize?")
    assert "set-cookie" not in bounced.headers
    server.http.cookies.update(cookies)
    assert "code" in answer_of(await server.http.get(bounced.headers["location"]))


@pytest.mark.parametrize(
    "said", [{"origin": EVIL, "sec-fetch-site": "cross-site"}, {"origin": EVIL}, {"origin": "null"}]
)
async def test_az_59_a_long_form_of_another_site_makes_no_other_device_of_the_browser(
    server: Server, said: dict[str, str]
) -> None:
    """What a browser is known by, its place in other tabs among it, is not for other sites to take away."""
    client = await register(server)
    await obtain_code(server, client)
    cookies = dict(server.http.cookies)
    long = request(client) | {"unknown": "x" * 7000}
    pushed = await server.post("/par", client, **request(client))
    answers = []
    for form in (
        long,
        {"client_id": client.client.client_id, "request_uri": pushed.json()["request_uri"], "x": "x" * 7000},
    ):
        server.http.cookies.clear()
        bounced = await server.http.post("/authorize", data=form, headers=said)
        assert (bounced.status_code, "set-cookie" in bounced.headers) == (303, False)
        assert len(bounced.headers["location"]) < 400
        server.http.cookies.update(cookies)
        answers.append(answer_of(await server.http.get(bounced.headers["location"])))
    assert all("code" in answer for answer in answers), "the honest variant: who is signed in is seen"
    server.http.cookies.clear()
    refused = [
        long | {"response_mode": "form_post", "scope": "nonsense"},
        long | {"redirect_uri": EVIL},
        long | {"client_id": "nobody"},
        long | {"request": "x", "request_uri": "x"},
    ]
    for form in refused:
        assert "set-cookie" not in (await server.http.post("/authorize", data=form, headers=said)).headers


async def test_az_20_a_page_is_kept_in_no_cache_and_its_address_told_to_nobody(server: Server) -> None:
    await make_people(server, "ada")
    client = await register(server)
    begun = await begin(server, client)
    for page in (await server.http.get(begun.headers["location"]), await consent_page(server, client)):
        assert page.status_code == 200
        assert "no-store" in page.headers["cache-control"]
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "unsafe-inline" not in page.headers["content-security-policy"]
        origin = "https://app.example.com"
        assert f"form-action 'self' {origin};" in page.headers["content-security-policy"] + ";", (
            "Chromium follows the answer to the form there and nowhere else"
        )


async def test_az_20_whoever_agrees_reads_whether_access_lasts_while_they_are_away(server: Server) -> None:
    await make_people(server, "ada")
    client = await register(server, scope="openid orders:read offline_access")
    for scope in ("openid orders:read", "openid orders:read offline_access"):
        server.http.cookies.clear()
        page = await consent_page(server, client, scope=scope, prompt="consent")
        assert page.status_code == 200
        said = "It can keep using this access while you are away." in page.text
        assert said is ("offline_access" in scope)


async def test_az_60_no_page_shows_in_a_frame_and_a_silent_code_goes_to_the_registered_address(
    server: Server,
) -> None:
    await make_people(server, "ada")
    client = await register(server)
    begun = await begin(server, client)
    for page in (await server.http.get(begun.headers["location"]), await consent_page(server, client)):
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-frame-options"] == "DENY"
    answer_of(await decide(server, page))
    framed = {"sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site", "referer": EVIL}
    silent = await server.http.get("/authorize", params=request(client, prompt="none"), headers=framed)
    assert "code" in answer_of(silent)
    lured = request(client, prompt="none", redirect_uri=EVIL)
    assert is_refused_on_a_page(await server.http.get("/authorize", params=lured, headers=framed))


async def test_az_61_no_page_posts_a_message_to_anybody(server: Server) -> None:
    await make_people(server, "ada")
    client = await register(server)
    page = await consent_page(server, client, response_mode="form_post")
    posted = await decide(server, page)
    assert f'action="{REDIRECT}"' in posted.text
    scripts = set(re.findall(r'src="([^"]+\.js[^"]*)"', posted.text + page.text))
    assert scripts
    for script in scripts:
        assert "postMessage" not in (await server.http.get(urlsplit(script).path)).text
    for text in (page.text, posted.text):
        assert "postMessage" not in text


async def test_se_10_consent_is_given_by_the_page_that_showed_it_and_by_no_other(server: Server) -> None:
    await make_people(server, "ada")
    client = await register(server)
    page = await consent_page(server, client)
    form = fields(page) | {"decision": "approve"}
    shown = await server.http.get("/sign-in?return=x")
    for forged, headers in (
        (form, {"origin": EVIL, "sec-fetch-site": "cross-site"}),
        (form, {"sec-fetch-site": "same-site"}),
        (form, {"origin": "null"}),
        ({name: value for name, value in form.items() if name != "csrf"}, {}),
        (form | {"csrf": ""}, {}),
        (form | {"csrf": "0" * 64}, {}),
        (form | {"csrf": csrf_of(shown.text)}, {}),
    ):
        refused = await server.http.post("/authorize/consent", data=forged, headers=headers)
        assert (refused.status_code in (400, 403), "location" in refused.headers) == (True, False)
    by_link = await server.http.get("/authorize/consent?" + urlencode(form))
    assert by_link.status_code == 405
    honest = await server.http.post(
        "/authorize/consent", data=form, headers={"origin": ISSUER, "sec-fetch-site": "same-origin"}
    )
    assert "code" in answer_of(honest)


async def test_an_optional_scope_can_be_left_out_and_is_not_asked_for_again(tmp_path: Path) -> None:
    known = {"orders:read": ScopeText(sentence="See your orders", optional=True)}
    async with open_server(tmp_path, scopes=known) as server:
        await make_people(server, "ada")
        client = await register(server)
        page = await consent_page(server, client, scope="openid orders:read")
        assert 'type="checkbox"' in page.text
        assert urlsplit(REDIRECT).netloc in page.text
        form = fields(page) | {"decision": "approve"}
        answer = answer_of(await server.http.post("/authorize/consent", data=form))
        assert (await redeem(server, client, answer["code"])).json()["scope"] == "openid"
        (event,) = await server.runtime.database.read(events.list_events, limit=5, name="consent.given")
        assert (event.data["scope"], event.data["declined"]) == ("openid", "orders:read")
        page = await begin(server, client, scope="openid", prompt="consent")
        assert "code" in answer_of(await decide(server, page)), "says nothing of what it does not ask for"
        again = answer_of(await begin(server, client, scope="openid orders:read", prompt="none"))
        assert (await redeem(server, client, again["code"])).json()["scope"] == "openid"
        page = await begin(server, client, scope="openid orders:read", prompt="consent")
        form = fields(page) | {"decision": "approve", "scope": "orders:read"}
        answer = answer_of(await server.http.post("/authorize/consent", data=form))
        assert (await redeem(server, client, answer["code"])).json()["scope"] == "openid orders:read"
        page = await begin(server, client, scope="openid", prompt="consent")
        assert "code" in answer_of(await decide(server, page)), (
            "takes nothing back of what it does not ask for"
        )
        again = answer_of(await begin(server, client, scope="openid orders:read", prompt="none"))
        assert (await redeem(server, client, again["code"])).json()["scope"] == "openid orders:read"


async def test_az_54_a_page_that_speaks_of_what_an_application_was_before_counts_for_nothing(
    server: Server,
) -> None:
    await make_people(server, "ada")
    client = await register(server)
    honest = await decide(server, await consent_page(server, client))
    assert "code" in answer_of(honest), "the honest variant"
    page = await server.http.get("/authorize", params=request(client, prompt="consent"))
    given = client_metadata.to_input(client.client)
    elsewhere = [REDIRECT, "https://elsewhere.example/cb"]
    await client_registry.change(
        server.runtime,
        client.client.client_id,
        msgspec.structs.replace(given, name="Another name", redirect_uris=elsewhere),
        expected_version=None,
        actor="test",
    )
    again = await decide(server, page)
    assert again.status_code == 200
    assert "Another name" in again.text
    assert "code" in answer_of(await decide(server, again)), "what it is now was agreed to"
