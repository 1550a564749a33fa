"""RFC 9396: rich authorization requests from the request over consent to the token, and what of them is refused."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from tests.fixtures.code_flow import answer_of, decide, redeem, refresh, register, request, sign_in
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server
from tests.flows import test_device as devices
from tests.flows import test_token_exchange as exchanging
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows.clients.client_metadata import to_input
from watchword.flows.clients.client_registry import Registered, change
from watchword.flows.users import accounts
from watchword.jose import jwk
from watchword.oauth.errors import OAuthError
from watchword.settings import DetailText, Settings, SettingsError, check

# The two types of RFC 9396 §2, as an operator declares them.
TYPES = {
    "account_information": DetailText(
        sentence={"en": "See your accounts", "de": "Ihre Konten sehen"},
        allowed={
            "actions": ("list_accounts", "read_balances", "read_transactions"),
            "locations": ("https://example.com/accounts",),
        },
    ),
    "payment_initiation": DetailText(
        sentence="Make a payment from your account",
        risk="high",
        once=True,
        members={
            "instructedAmount": {"currency": "string", "amount": "string"},
            "creditorName": "string",
            "creditorAccount": {"iban": "string"},
            "remittanceInformationUnstructured": "string",
        },
        required=("instructedAmount",),
        allowed={
            "actions": ("initiate", "status", "cancel"),
            "locations": ("https://example.com/payments",),
        },
        labels={"instructedAmount": {"en": "Amount", "de": "Betrag"}, "creditorName": "To"},
    ),
}
ACCOUNTS: dict[str, Any] = {
    "type": "account_information",
    "actions": ["list_accounts", "read_balances", "read_transactions"],
    "locations": ["https://example.com/accounts"],
}
PAYMENT: dict[str, Any] = {
    "type": "payment_initiation",
    "actions": ["initiate", "status", "cancel"],
    "locations": ["https://example.com/payments"],
    "instructedAmount": {"currency": "EUR", "amount": "123.50"},
    "creditorName": "Merchant A",
    "creditorAccount": {"iban": "DE02100100109307118603"},
    "remittanceInformationUnstructured": "Ref Number Merchant",
}


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server with the two types."""
    options = {"database": store.address, "key_file": str(tmp_path / "key"), "authorization_details": TYPES}
    async with open_server(tmp_path, **options) as opened:
        await accounts.create(opened.runtime, username="ada", password=PASSWORD, actor="test")
        yield opened


async def rich(server: Server, **given: Any) -> Registered:
    """Register a client that may use both types."""
    return await register(server, **{"authorization_details_types": list(TYPES)} | given)


def asking(client: Registered, *details: Any, **changes: str | None) -> dict[str, str]:
    """Return the parameters of a rich request."""
    return request(client, authorization_details=json.dumps(list(details)), **changes)


async def consent_page(
    server: Server, client: Registered, *details: Any, **changes: str | None
) -> httpx.Response:
    """Sign in for a rich request and return the consent page."""
    begun = await server.http.get("/authorize", params=asking(client, *details, **changes))
    back = await sign_in(server, begun)
    return await server.http.get(back.headers["location"])


async def granted(server: Server, client: Registered, *details: Any, **changes: str | None) -> Any:
    """Walk the whole flow; return the token response."""
    answer = answer_of(await decide(server, await consent_page(server, client, *details, **changes)))
    return (await redeem(server, client, answer["code"])).json()


def payload(token: str) -> Any:
    """Return what a JWT says."""
    return json.loads(jwk.b64decode(token.split(".")[1]))


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
async def test_what_was_agreed_to_is_in_the_answer_the_token_and_introspection(
    server: Server, kind: str
) -> None:
    client = await rich(server, access_token_format=kind)
    tokens = await granted(server, client, ACCOUNTS, PAYMENT, scope=None)
    assert tokens["authorization_details"] == [ACCOUNTS, PAYMENT]
    assert not tokens["scope"], "a rich request brings no default scope along"
    if kind == "jwt":
        assert payload(tokens["access_token"])["authorization_details"] == [ACCOUNTS, PAYMENT]
    seen = await server.post("/introspect", client, token=tokens["access_token"])
    assert seen.json()["authorization_details"] == [ACCOUNTS, PAYMENT]


async def test_the_consent_page_shows_every_value_in_plain_words(server: Server) -> None:
    client = await rich(server)
    page = await consent_page(server, client, ACCOUNTS, PAYMENT, scope="openid")
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.text))
    for text in (
        "See your accounts",
        "Make a payment from your account",
        "High risk",
        "Amount",
        "Merchant A",
    ):
        assert text in shown
    assert "currency: EUR, amount: 123.50" in shown
    assert "list_accounts, read_balances, read_transactions" in shown
    german = await server.http.get("/authorize", params=asking(client, PAYMENT, ui_locales="de"))
    assert "Betrag" in german.text
    assert "Wo" in german.text


async def test_a_value_cannot_pass_for_another(server: Server) -> None:
    client = await rich(server)
    name = "A\u202eknaB <b>x</b>\u00ad\u3164\u2800\U000e0041\ufe0f"
    page = await consent_page(server, client, {**PAYMENT, "creditorName": name})
    assert not any(hidden in page.text for hidden in "\u202e\u00ad\u3164\u2800\U000e0041\ufe0f")
    assert "A\ufffdknaB &lt;b&gt;x&lt;/b&gt;" in page.text


async def test_a_value_cannot_cover_the_lines_around_it(server: Server) -> None:
    client = await rich(server)
    page = await consent_page(
        server, client, {**PAYMENT, "creditorName": "No\u0308 Ba" + "\u0301" * 150 + "nk"}
    )
    assert "No\u0308 Ba" + "\u0301" * 8 + "\ufffd" * 142 + "nk" in page.text


async def test_an_answer_is_remembered_but_for_what_is_asked_every_time(server: Server) -> None:
    client = await rich(server)
    await granted(server, client, ACCOUNTS)
    again = await server.http.get("/authorize", params=asking(client, ACCOUNTS, prompt="none"))
    assert "code" in answer_of(again)
    less = await server.http.get(
        "/authorize", params=asking(client, {**ACCOUNTS, "actions": ["list_accounts"]}, prompt="none")
    )
    assert "code" in answer_of(less)
    twice = await server.http.get("/authorize", params=asking(client, ACCOUNTS, ACCOUNTS, prompt="none"))
    assert answer_of(twice)["error"] == "consent_required"
    await decide(server, await server.http.get("/authorize", params=asking(client, PAYMENT)))
    payment = await server.http.get("/authorize", params=asking(client, PAYMENT, prompt="none"))
    assert answer_of(payment)["error"] == "consent_required"


@in_turn(
    "details",
    [
        [{"type": "unknown"}],
        [{**ACCOUNTS, "extra": 1}],
        [{**ACCOUNTS, "actions": ["delete"]}],
        [{**PAYMENT, "instructedAmount": "123.50"}],
        [{**PAYMENT, "instructedAmount": {"currency": "EUR", "amount": "1", "fee": "2"}}],
        [{"type": "payment_initiation"}],
        {"type": "account_information"},
        [],
    ],
    ids=str,
)
async def test_az_58_details_that_no_type_knows_are_refused_everywhere(server: Server, details: Any) -> None:
    client = await rich(server, grant_types=["authorization_code", "client_credentials"])
    text = json.dumps(details)
    good = await server.http.get("/authorize", params=asking(client, ACCOUNTS, PAYMENT))
    assert "/sign-in" in good.headers["location"]
    asked = await server.http.get("/authorize", params=request(client, authorization_details=text))
    assert answer_of(asked)["error"] == "invalid_authorization_details"
    pushed = await server.post("/par", client, **request(client, authorization_details=text))
    own = await server.grant(client, authorization_details=text)
    for refused in (pushed, own):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_authorization_details")


async def test_az_58_a_type_needs_to_be_registered_for_the_client(server: Server) -> None:
    client = await rich(server, authorization_details_types=["account_information"])
    refused = await server.http.get("/authorize", params=asking(client, PAYMENT))
    assert answer_of(refused)["error"] == "invalid_authorization_details"
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        await rich(server, authorization_details_types=["unknown"])


async def test_a_token_request_takes_less_and_never_more(server: Server) -> None:
    client = await rich(server)
    answer = answer_of(await decide(server, await consent_page(server, client, ACCOUNTS, PAYMENT)))
    dearer = {**PAYMENT, "instructedAmount": {"currency": "EUR", "amount": "999.00"}}
    refused = await redeem(server, client, answer["code"], authorization_details=json.dumps([dearer]))
    assert refused.json()["error"] == "invalid_authorization_details"
    twice = await redeem(server, client, answer["code"], authorization_details=json.dumps([PAYMENT, PAYMENT]))
    assert twice.json()["error"] == "invalid_authorization_details", "one payment was agreed to"
    less = {**ACCOUNTS, "actions": ["list_accounts"]}
    tokens = (await redeem(server, client, answer["code"], authorization_details=json.dumps([less]))).json()
    assert tokens["authorization_details"] == [less]
    renewed = (await refresh(server, client, tokens["refresh_token"])).json()
    assert renewed["authorization_details"] == [ACCOUNTS, PAYMENT], "the grant holds what was agreed to"
    narrower = await refresh(
        server, client, renewed["refresh_token"], authorization_details=json.dumps([PAYMENT])
    )
    assert narrower.json()["authorization_details"] == [PAYMENT]


async def test_a_client_may_ask_for_itself(server: Server) -> None:
    client = await rich(server, grant_types=["client_credentials"], redirect_uris=[])
    tokens = (await server.grant(client, authorization_details=json.dumps([ACCOUNTS]))).json()
    assert tokens["authorization_details"] == [ACCOUNTS]
    assert payload(tokens["access_token"])["authorization_details"] == [ACCOUNTS]


async def test_a_type_that_a_client_lost_is_gone_with_the_next_token(server: Server) -> None:
    client = await rich(server)
    tokens = await granted(server, client, ACCOUNTS, PAYMENT)
    given = msgspec.structs.replace(
        to_input(client.client), authorization_details_types=["account_information"]
    )
    await change(server.runtime, client.client.client_id, given, expected_version=None, actor="test")
    renewed = (await refresh(server, client, tokens["refresh_token"])).json()
    assert renewed["authorization_details"] == [ACCOUNTS]


async def device(server: Server, **given: Any) -> Registered:
    """Register a client of the device flow that may use both types."""
    wanted = {"grant_types": ["device_code", "refresh_token"], "redirect_uris": []}
    return await rich(server, **wanted | given)


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
async def test_a_person_sees_what_a_device_asks_for_in_detail_and_it_gets_that(
    server: Server, kind: str
) -> None:
    client = await device(server, access_token_format=kind)
    codes = await devices.begin(
        server, client, scope="", authorization_details=json.dumps([ACCOUNTS, PAYMENT])
    )
    await sign_in(server, await server.http.get("/device"))
    page = await devices.enter(server, codes["user_code"])
    for text in (
        "Make a payment from your account",
        "High risk",
        "amount: 123.50, currency: EUR",
        "Merchant A",
    ):
        assert text in page.text
    assert "orders:read" not in page.text, "a rich request brings no default scope along"
    await devices.decide(server, page)
    dearer = {**PAYMENT, "instructedAmount": {"currency": "EUR", "amount": "999.00"}}
    refused = await devices.poll(server, client, codes, authorization_details=json.dumps([dearer]))
    assert refused.json()["error"] == "invalid_authorization_details"
    tokens = (await devices.poll(server, client, codes)).json()
    assert tokens["authorization_details"] == [ACCOUNTS, PAYMENT]
    seen = (await server.post("/introspect", client, token=tokens["access_token"])).json()
    assert seen["authorization_details"] == [ACCOUNTS, PAYMENT]
    renewed = (await refresh(server, client, tokens["refresh_token"])).json()
    assert renewed["authorization_details"] == [ACCOUNTS, PAYMENT]


async def test_az_58_a_device_asks_for_what_its_types_know_and_nothing_else(server: Server) -> None:
    client = await device(server, authorization_details_types=["account_information"])
    for details in ([PAYMENT], [{**ACCOUNTS, "actions": ["delete"]}], [], {"type": "account_information"}):
        text = json.dumps(details)
        refused = await server.post("/device_authorization", client, authorization_details=text)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_authorization_details")
        assert refused.json()["field"] == "authorization_details"
    good = await server.post("/device_authorization", client, authorization_details=json.dumps([ACCOUNTS]))
    assert good.status_code == 200, "the honest variant"


async def swapped(server: Server, client: Registered, token: str, *asked: Any) -> httpx.Response:
    """Exchange a token, perhaps for named details."""
    more = {"authorization_details": json.dumps(list(asked))} if asked else {}
    return await exchanging.swap(server, client, token, **more)


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
async def test_an_exchange_keeps_or_narrows_details_and_never_widens_them(server: Server, kind: str) -> None:
    grants = ["authorization_code", "token_exchange"]
    client = await rich(server, grant_types=grants, access_token_format=kind)
    tokens = await granted(server, client, ACCOUNTS, PAYMENT, scope=None)
    kept = (await swapped(server, client, tokens["access_token"])).json()
    assert kept["authorization_details"] == [ACCOUNTS, PAYMENT]
    less = {**ACCOUNTS, "actions": ["list_accounts"]}
    narrowed = (await swapped(server, client, tokens["access_token"], less)).json()
    assert narrowed["authorization_details"] == [less]
    seen = (await server.post("/introspect", client, token=narrowed["access_token"])).json()
    assert seen["authorization_details"] == [less]
    dearer = {**PAYMENT, "instructedAmount": {"currency": "EUR", "amount": "999.00"}}
    for token, asked in (
        (tokens["access_token"], dearer),
        (tokens["access_token"], {"type": "unknown"}),
        (narrowed["access_token"], PAYMENT),
        (narrowed["access_token"], ACCOUNTS),
    ):
        refused = await swapped(server, client, token, asked)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_authorization_details")


async def test_a_service_gets_of_a_callers_details_what_it_is_registered_for(server: Server) -> None:
    api, down = exchanging.API, exchanging.DOWN
    grants = ["client_credentials"]
    caller = await rich(server, grant_types=grants, redirect_uris=[], resources=[api], scope="orders:read")
    sent = await server.grant(
        caller, scope="orders:read", authorization_details=json.dumps([ACCOUNTS, PAYMENT])
    )
    token = sent.json()["access_token"]
    service = await exchanging.service(server, authorization_details_types=["account_information"])
    got = (await exchanging.swap(server, service, token, audience=down)).json()
    assert got["authorization_details"] == [ACCOUNTS]
    refused = await swapped(server, service, token, PAYMENT)
    assert refused.json()["error"] == "invalid_authorization_details"
    plain = await exchanging.service(server)
    assert "authorization_details" not in (await exchanging.swap(server, plain, token, audience=down)).json()


async def test_a_grant_that_gives_no_details_says_so(server: Server) -> None:
    client = await rich(server, grant_types=["jwt_bearer"], redirect_uris=[])
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
    refused = await server.post("/token", client, **form, authorization_details=json.dumps([ACCOUNTS]))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_authorization_details")


async def test_a_person_reads_under_connected_applications_what_they_agreed_to(server: Server) -> None:
    client = await rich(server)
    await granted(server, client, ACCOUNTS, PAYMENT)
    again = answer_of(await server.http.get("/authorize", params=asking(client, ACCOUNTS)))
    assert (await redeem(server, client, again["code"])).status_code == 200
    page = await server.http.get("/account/applications")
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.text))
    for text in ("See your accounts", "Make a payment from your account", "amount: 123.50, currency: EUR"):
        assert shown.count(text) == 1, text
    form = {"csrf": csrf_of(page.text), "do": "revoke", "application": client.client.client_id}
    await server.http.post("/account/applications", data=form)
    assert "See your accounts" not in (await server.http.get("/account/applications")).text


async def test_a_pushed_rich_request_works(server: Server) -> None:
    client = await rich(server)
    pushed = await server.post("/par", client, **asking(client, PAYMENT))
    begun = await server.http.get(
        "/authorize",
        params={"client_id": client.client.client_id, "request_uri": pushed.json()["request_uri"]},
    )
    back = await sign_in(server, begun)
    answer = answer_of(await decide(server, await server.http.get(back.headers["location"])))
    assert (await redeem(server, client, answer["code"])).json()["authorization_details"] == [PAYMENT]


async def test_discovery_names_the_types(server: Server) -> None:
    told = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert told["authorization_details_types_supported"] == list(TYPES)


@pytest.mark.parametrize(
    ("declared", "blamed"),
    [
        (DetailText(sentence="x", members={"a": "text"}), "members.a"),
        (DetailText(sentence="x", members={"a": ["string", "string"]}), "members.a"),
        (DetailText(sentence="x", members={"a": {"b": 1}}), "members.a"),
        (DetailText(sentence="x", required=("a",)), "required"),
    ],
)
def test_a_type_that_says_nothing_sensible_stops_the_start(declared: DetailText, blamed: str) -> None:
    check(Settings(authorization_details=TYPES))
    with pytest.raises(SettingsError, match=blamed):
        check(Settings(authorization_details={"x": declared}))
    with pytest.raises(SettingsError, match="self_registered_authorization_details"):
        check(Settings(self_registered_authorization_details=("x",)))
