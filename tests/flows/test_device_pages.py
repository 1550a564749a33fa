"""RFC 8628 §3.3: the pages where a person enters a code and decides; and what must not decide anything."""

from pathlib import Path
from urllib.parse import quote

import pytest
from tests.fixtures.devices import begin, decide, enter, person, poll, register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, refusal, together
from tests.flows.test_first_sign_in import csrf_of

from watchword.store.audit import events

HOSTILE = [
    "",
    "x" * 20_000,
    "BCDF-GHJ\x00",
    "ВСDF-GHJK",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "\ud800",
    "BCDF\r\nGHJK",
    "BCDF-GHJKL",
]


async def test_dv_04_following_the_link_decides_nothing(server: Server) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    shown = await server.http.get(codes["verification_uri_complete"])
    assert shown.status_code == 200
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    form = {"csrf": csrf_of(shown.text), "user_code": codes["user_code"], "decision": "approve"}
    assert (await server.http.post("/device/confirm", data=form)).status_code == 400, (
        "not shown yet, so not to be approved"
    )
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    await decide(server, await enter(server, codes["user_code"]))
    assert (await poll(server, client, codes)).status_code == 200


async def test_dv_04_whoever_decides_reads_what_asked_and_from_where_and_gives_all_or_nothing(
    server: Server,
) -> None:
    client = await register(server)
    server.http.headers["user-agent"] = "television/7.1"
    codes = await begin(server, client)
    server.http.headers["user-agent"] = "a browser"
    await person(server)
    page = (await enter(server, codes["user_code"])).text
    assert ("television/7.1" in page, "a browser" in page, "127.0.0.1" in page) == (True, False, True)
    assert 'type="checkbox"' not in page, "nothing that the device would not learn of"
    assert 'name="scope"' not in page


async def test_dv_05_a_refusal_reaches_the_device_and_stays(server: Server) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    assert "Device refused" in (await decide(server, page, "deny")).text
    assert refusal(await poll(server, client, codes)) == (400, "access_denied")
    assert (await decide(server, page)).status_code == 400, "what was denied cannot be approved later"
    assert refusal(await poll(server, client, codes)) == (400, "access_denied")


@pytest.mark.parametrize(
    ("decision", "title", "other"),
    [("approve", "Device connected", "deny"), ("deny", "Device refused", "approve")],
)
async def test_a_decision_that_is_sent_again_is_confirmed_and_counts_once(
    server: Server, decision: str, title: str, other: str
) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    assert title in (await decide(server, page, decision)).text
    again = await decide(server, page, decision)
    assert (again.status_code, title in again.text) == (200, True)
    assert (await decide(server, page, other)).status_code == 400, "it is not decided anew"
    answer = await poll(server, client, codes)
    assert answer.status_code == (200 if decision == "approve" else 400)
    again = await decide(server, page, decision)
    assert (again.status_code, title in again.text) == (200, True), "the device has its answer"
    decided = await server.runtime.database.read(
        events.list_events,
        limit=9,
        name="device_code.approved" if decision == "approve" else "device_code.denied",
    )
    assert len(decided) == 1


async def test_dv_05_a_hostile_user_code_is_just_wrong(server: Server) -> None:
    await person(server)
    for hostile in HOSTILE:
        page = await server.http.get("/device")
        raw = hostile.encode("utf-8", "surrogatepass")
        body = f"csrf={csrf_of(page.text)}&user_code={quote(raw)}"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        for path in ("/device", "/device/confirm"):
            answer = await server.http.post(path, content=body + "&decision=approve", headers=headers)
            assert answer.status_code == 400, hostile
            assert "<script>alert" not in answer.text
        linked = await server.http.get(f"/device?user_code={quote(raw)}")
        assert linked.status_code in (200, 400)
        assert "<script>alert" not in linked.text


async def test_lg_06_guessing_user_codes_is_throttled_by_person_and_address(server: Server) -> None:
    client = await register(server)
    await person(server)
    for _ in range(10):
        assert (await enter(server, "BCDF-GHJK")).status_code == 400
    assert (await enter(server, "BCDF-GHJK")).status_code == 429
    codes = await begin(server, client)
    assert (await enter(server, codes["user_code"])).status_code == 429, "the right one as well"
    server.clock.advance(60)
    assert (await enter(server, codes["user_code"])).status_code == 200


async def test_only_who_entered_the_code_in_this_browser_decides(server: Server) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    mine = dict(server.http.cookies)
    server.http.cookies.clear()
    await person(server, "eve")
    own = csrf_of((await server.http.get("/device")).text)
    form = {"csrf": own, "user_code": codes["user_code"], "decision": "approve"}
    assert (await server.http.post("/device/confirm", data=form)).status_code == 400, "eve did not enter it"
    server.http.cookies.delete("ww-session")
    server.http.cookies.set("ww-session", mine["ww-session"])
    assert (await server.http.post("/device/confirm", data=form)).status_code == 400, (
        "ada, in another browser"
    )
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    server.http.cookies.clear()
    for name, value in mine.items():
        server.http.cookies.set(name, value)
    assert "Device connected" in (await decide(server, page)).text


@pytest.mark.parametrize("path", ["/device", "/device/confirm"])
async def test_se_09_another_sites_form_enters_and_decides_nothing(server: Server, path: str) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    form = {"csrf": csrf_of(page.text), "user_code": codes["user_code"], "decision": "approve"}
    refused = [
        await server.http.post(path, data=form | {"csrf": "0" * 64}),
        await server.http.post(path, data=form, headers={"origin": "https://evil.example"}),
        await server.http.post(path, data=form, headers={"sec-fetch-site": "cross-site"}),
    ]
    assert all(answer.status_code >= 400 for answer in refused)
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    assert "Device connected" in (await decide(server, page)).text


async def test_nobody_decides_without_signing_in(server: Server) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    server.http.cookies.delete("ww-session")
    assert "/sign-in" in (await decide(server, page)).headers["location"]
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")


async def test_of_an_approval_and_a_refusal_at_once_one_counts(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address) as one, open_server(tmp_path, on=store.address) as two:
        client = await register(one)
        codes = await begin(one, client)
        await person(one)
        page = await enter(one, codes["user_code"])
        for name, value in one.http.cookies.items():
            two.http.cookies.set(name, value)
        answers = await together(decide(one, page), decide(two, page, "deny"))
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        approved = answers[0].status_code == 200
        assert (await poll(one, client, codes)).status_code == (200 if approved else 400)
