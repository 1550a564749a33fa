"""Lists of any length, a page at a time: people find all of their own, and programs all that they search for."""

import html
import re
from pathlib import Path

import pytest
from tests.fixtures.accounts import user_of
from tests.fixtures.applications import ada, application, connect
from tests.fixtures.people import Person
from tests.fixtures.servers import open_server
from tests.flows.test_people_api import headers
from tests.store.made import execute

from watchword.flows.users import accounts
from watchword.pages import account
from watchword.store import grants

__all__ = ["ada"]


async def pages_of(person: Person, path: str) -> list[list[str]]:
    """Return the headings of what is listed on each page of a list, following its links from the first to the last."""
    listed: list[list[str]] = []
    following: str | None = path
    while following and len(listed) < 9:
        await person.open(following)
        assert person.page is not None
        headings = re.findall(r'<h2 class="row-title">(.*?)</h2>', person.page.text)
        listed.append([html.unescape(re.sub(r"<[^>]+>", "", heading)).strip() for heading in headings])
        found = re.search(r'class="button button-secondary" href="([^"]*cursor=[^"]*)"', person.page.text)
        following = html.unescape(found[1]) if found else None
    return listed


async def test_every_one_of_very_many_tokens_is_found_newest_first(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "PAGE", 2)
    owner = (await user_of(ada.server)).username
    made = [(await ada.server.token(name=f"script {number}", owner=owner)).token for number in range(5)]
    await ada.server.token(name="script of somebody else")
    # Newer by its identifier: two of one millisecond have no order of their own.
    newest = [token.name for token in sorted(made, key=lambda token: token.id, reverse=True)]
    assert await pages_of(ada, "/account/tokens") == [newest[:2], newest[2:4], newest[4:]]


async def test_every_one_of_very_many_applications_is_found_by_name(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "PAGE", 2)
    for name in ("Zebra", "ant", "Ant", "Bee", "cow"):
        await connect(ada, await application(ada.server, name=name))
    listed = await pages_of(ada, "/account/applications")
    names = [name for page in listed for name in page]
    assert [len(page) for page in listed] == [2, 2, 1]
    assert {*names[:2]} == {"Ant", "ant"}
    assert names[2:] == ["Bee", "cow", "Zebra"]
    await ada.server.runtime.database.write(execute, "DELETE FROM grants")
    assert await pages_of(ada, "/account/applications") == listed, "what one agreed to stays"


async def test_an_application_without_a_consent_is_found_behind_one_with_very_many_grants(
    ada: Person,
) -> None:
    server = ada.server
    first, second = [await application(server, name=name) for name in ("first", "second")]
    await connect(ada, first)
    columns = f"{', '.join(grants.Grant.__struct_fields__[1:])}, expires_at, request"
    many = (
        f"INSERT INTO grants (id, {columns}) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
        f"SELECT 'copy_' || i, {columns} FROM grants, n"
    )
    assert await server.runtime.database.write(execute, many) == 2000
    await connect(ada, second)
    await server.runtime.database.write(execute, "DELETE FROM consents")
    assert await pages_of(ada, "/account/applications") == [["first", "second"]]


async def test_a_list_continues_only_where_its_own_pages_lead(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "PAGE", 1)
    owner = (await user_of(ada.server)).username
    for name in ("one", "two"):
        await ada.server.token(name=name, owner=owner)
    page = (await ada.http.get("/account/tokens")).text
    cursor = re.search(r"cursor=([\w-]+)", page)
    assert cursor is not None
    assert (await ada.http.get(f"/account/tokens?cursor={cursor[1]}")).status_code == 200
    for path in (f"/account/applications?cursor={cursor[1]}", "/account/tokens?cursor=forged"):
        assert (await ada.http.get(path)).status_code == 400


async def test_a_list_that_is_searched_goes_on_however_long_the_names_in_it_are(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        own = await headers(server, "watchword:admin")
        long, address = 199 * "ж", f"{64 * 'z'}@{'.'.join(3 * [60 * 'z'])}"
        for end in "ab":
            await accounts.create(server.runtime, username=f"z{end}", email=f"{address}.{end}x", actor="test")
            for kind, more in (
                ("clients", {}),
                ("tokens", {"scope": "notes:read", "owner": "application:notes"}),
            ):
                made = await server.http.post(
                    f"/api/v1/{kind}", json={"name": long + end, **more}, headers=own
                )
                assert made.status_code == 201, made.text
        for kind, search in (("users", address), ("clients", "ж"), ("tokens", "ж")):
            asked = {"search": search[:100], "limit": "1"}
            first = (await server.http.get(f"/api/v1/{kind}", params=asked, headers=own)).json()
            following = asked | {"cursor": first["next"]}
            second = await server.http.get(f"/api/v1/{kind}", params=following, headers=own)
            assert second.status_code == 200, second.text
            assert (len(first[kind]), len(second.json()[kind])) == (1, 1)
            assert first[kind] != second.json()[kind]
