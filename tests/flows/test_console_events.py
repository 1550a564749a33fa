"""The console's audit trail as administrators use it: who is meant, where to find it, and the trail as a file."""

import json
import re
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from tests.fixtures.accounts import make, session_of, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.servers import Server

from watchword.pages import returning
from watchword.pages.console import events
from watchword.store.database import Transaction

__all__ = ["admin", "server"]
PAGE = "/console/events"


async def lines(admin: Person, query: str = "") -> list[dict[str, object]]:
    answer = await admin.http.get(f"{PAGE}/file{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    return [json.loads(line) for line in answer.text.splitlines()]


async def record(server: Server, count: int, name: str, **data: str) -> None:
    async def write(tx: Transaction) -> None:
        for number in range(count):
            await tx.record(name, actor="test", target=f"thing {number}", at=server.runtime.now(), **data)

    await server.runtime.database.write(write)


async def test_people_are_called_by_name_and_everything_leads_to_its_page(admin: Person) -> None:
    server = admin.server
    ada, token = await user_of(server), await server.token()
    session = await session_of(server)
    await make(server, "zoe", "zoe@example.com")
    zoe = await user_of(server, "zoe")
    await admin.open(PAGE)
    assert admin.page is not None
    page, root = admin.page.text, server.settings.issuer
    for section, identifier in (("tokens", token.token.id), ("people", zoe.id), ("people", ada.id)):
        assert f'href="{root}/console/{section}/{identifier}"' in page
    assert "<bdi>zoe</bdi>" in page
    await admin.open(f"{PAGE}?target={session.id}")
    assert "<bdi>ada</bdi>" in admin.page.text
    assert f'href="{root}/console/people/{ada.id}"' in admin.page.text
    assert f'href="{root}/console/events?target={session.id}"' in admin.page.text


async def test_a_key_leads_to_its_page_while_it_is_published(admin: Person) -> None:
    (key, _), *_ = await admin.server.runtime.keyring.states()
    await admin.open(f"{PAGE}?name=key.created")
    assert admin.page is not None
    page = f'href="{admin.server.settings.issuer}/console/keys/{key.kid}"'
    assert page in admin.page.text
    await admin.server.runtime.keyring.revoke(key.kid, actor="test")
    await admin.open(f"{PAGE}?target={key.kid}")
    assert key.kid in admin.text
    assert page not in admin.page.text


async def test_what_is_filtered_can_be_taken_along_as_a_file(admin: Person) -> None:
    await record(admin.server, 3, "test.happened", note="=HYPERLINK(1)")
    await admin.open(f"{PAGE}?name=test.happened")
    assert admin.page is not None
    assert f'href="{admin.server.settings.issuer}{PAGE}/file?name=test.happened"' in admin.page.text
    found = await lines(admin, "?name=test.happened")
    assert [one["target"] for one in found] == ["thing 2", "thing 1", "thing 0"]
    assert found[0]["data"] == {"note": "=HYPERLINK(1)"}
    assert [one["target"] for one in await lines(admin, "?target=thing%201")] == ["thing 1"]
    assert len(await lines(admin)) > 3


async def test_a_file_holds_all_events_once_in_their_order(admin: Person) -> None:
    count = 2 * events.STEP + 1
    await record(admin.server, count, "test.happened")
    found = await lines(admin, "?name=test.happened")
    assert [one["target"] for one in found] == [f"thing {number}" for number in reversed(range(count))]


async def test_what_is_rare_is_looked_for_further_back_step_by_step(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(admin.server, 1, "test.rare")
    await record(admin.server, 25, "test.happened")
    monkeypatch.setattr(events, "LOOKED", 10)
    await admin.open(f"{PAGE}?name=test.rare")
    looks = 0
    while admin.page is not None and "thing 0" not in admin.text:
        assert "have not been searched yet" in admin.text
        looks += 1
        following = re.search(r'href="([^"]*cursor=[^"]*)"', admin.page.text)
        assert following is not None
        assert "name=test.rare" in following[1]
        await admin.open(following[1].replace("&amp;", "&"))
    assert looks == 2
    assert [one["target"] for one in await lines(admin, "?name=test.rare")] == ["thing 0"]


async def test_a_file_of_nothing_is_empty(admin: Person) -> None:
    assert await lines(admin, "?name=nothing.of.this.name") == []


async def test_a_file_ends_after_so_many_events(admin: Person) -> None:
    await record(admin.server, events.MOST + 1, "test.happened")
    assert len(await lines(admin, "?name=test.happened")) == events.MOST


async def test_times_of_an_event_are_written_as_times(admin: Person) -> None:
    issued = await admin.server.token()
    assert issued.token.expires_at is not None
    await admin.open(f"{PAGE}?target={issued.token.id}")
    until = datetime.fromtimestamp(issued.token.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f"expires_at: {until}" in " ".join(admin.text.split())


async def test_who_proves_it_anew_on_the_way_to_the_file_comes_back_to_the_page(admin: Person) -> None:
    assert await lines(admin)
    await admin.open(PAGE)
    assert admin.page is not None
    assert " download" not in admin.page.text, "a page to prove it would be saved under the name of the file"
    admin.server.clock.advance(7 * 3600)
    assert (await admin.http.get("/account")).status_code == 200  # the session lives on
    admin.server.clock.advance(3600)
    away = (await admin.http.get(f"{PAGE}/file")).headers["location"]
    assert "/step-up?return=" in away
    sealed = unquote(away.partition("return=")[2])
    assert returning.open_return(admin.server.runtime, sealed) == PAGE


async def test_what_a_person_did_is_found_by_name_and_nobody_hides_another_by_a_name(admin: Person) -> None:
    server = admin.server
    await make(server, "zoe", "zoe@example.com")
    await make(server, "system", "system@example.com")
    zoe = await user_of(server, "zoe")
    assert {one["target"] for one in await lines(admin, "?target=Zoe")} == {zoe.id}
    await admin.open(f"{PAGE}?target=zoe")
    assert "user.created" in admin.text
    assert admin.form(having="target")["target"] == "zoe"
    assert {one["actor"] for one in await lines(admin, "?actor=ada")} == {(await user_of(server)).id}
    assert {one["actor"] for one in await lines(admin, "?actor=system")} == {"system"}
    assert not await lines(admin, "?actor=nobody%20at%20all")


async def test_what_happened_to_a_client_of_the_longest_identifier_is_found(admin: Person) -> None:
    client_id = "https://app.example.com/" + "c" * 700

    async def write(tx: Transaction) -> None:
        await tx.record("client.created", actor=client_id, target=client_id, at=admin.server.runtime.now())

    await admin.server.runtime.database.write(write)
    for query in (f"target={client_id}", f"actor={client_id}"):
        assert [event["name"] for event in await lines(admin, f"?{query}")] == ["client.created"]
