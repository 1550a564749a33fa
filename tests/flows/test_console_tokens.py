"""The console's API tokens: found, made for whoever owns them, rotated, revoked, and nothing done that no form says."""

import secrets

import httpx
import pytest
from tests.fixtures.accounts import make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.users import people
from watchword.flows.users.people import Changes
from watchword.store import faults

__all__ = ["admin", "server"]
NEW = "/console/tokens/new"
GIVEN = {"name": "nightly", "owner": "ci", "scope": "orders:read", "days": "30"}


async def _works(admin: Person, secret: str) -> bool:
    answer = await admin.server.http.get("/api/v1/tokens/self", headers={"authorization": f"Bearer {secret}"})
    return answer.status_code == 200


async def _sent(admin: Person, page: str, **fields: str) -> httpx.Response:
    await admin.open(page)
    return await admin.http.post(page, data={"csrf": admin.form()["csrf"], **fields})


async def test_a_token_is_made_for_a_program_and_shown_once(admin: Person) -> None:
    await admin.open(NEW)
    await admin.send(GIVEN)
    assert "The new token" in admin.text
    assert "Owner: Program application:ci" in " ".join(admin.text.split()), "no person of that name"
    await admin.open("/console/tokens?owner=ci")
    assert "nightly" in admin.text


@in_turn(
    "days",
    ["9" * 60_000, "\u0661", "1_0", "-1", "0", "91", "", "1e2", "\x00"],
    ids=lambda days: repr(days[:5]),
)
async def test_a_life_that_is_not_offered_is_refused_beside_its_field(admin: Person, days: str) -> None:
    for typed, status in (("30", 200), (days, 400)):
        await admin.open(NEW)
        form = {**admin.form(having="owner"), **GIVEN, "days": typed}
        form.pop("")
        assert (await admin.http.post(NEW, data=form)).status_code == status


async def test_an_owner_that_is_too_long_is_refused_beside_its_field(admin: Person) -> None:
    """Not compressible: PostgreSQL keeps an owner in an index, whose entries have 2.7 kB at most."""
    for typed, status in (("ci", 200), (secrets.token_hex(2500), 400)):
        answer = await _sent(admin, NEW, **{**GIVEN, "owner": typed})
        assert (answer.status_code, 'id="owner-error"' in answer.text) == (status, status == 400)


async def test_an_application_is_found_by_the_identifier_that_the_list_shows(admin: Person) -> None:
    runtime = admin.server.runtime
    owner = await api_tokens.resolve_owner(runtime, "ci")
    await api_tokens.create(
        runtime, TokenInput(name="nightly", scope="orders:read"), owner=owner, actor="test"
    )
    await admin.open("/console/tokens?owner=application:ci")
    assert "nightly" in admin.text
    await _sent(admin, NEW, **{**GIVEN, "name": "weekly", "owner": "application:ci"})
    await admin.open("/console/tokens?owner=ci")
    assert "weekly" in admin.text


async def test_a_token_is_found_by_how_its_name_begins_and_by_its_identifier(admin: Person) -> None:
    runtime = admin.server.runtime
    owner = await api_tokens.resolve_owner(runtime, "ci")
    made = [
        await api_tokens.create(runtime, TokenInput(name=name, scope="read"), owner=owner, actor="test")
        for name in ("Nightly backup", "Weekly backup")
    ]
    for search, found in (("nightly", [0]), (made[1].token.id, [1]), ("backup", []), ("", [0, 1])):
        await admin.open(f"/console/tokens?search={search}")
        assert [n for n, one in enumerate(made) if one.token.id in admin.text] == found, search


async def test_an_owner_that_can_be_none_is_said_beside_the_field(admin: Person) -> None:
    answer = await admin.open("/console/tokens?owner=%E2%80%AEx&search=nightly")
    assert answer.status_code == 400
    assert "owner must be text without invisible characters" in admin.text
    assert admin.form(having="search")["search"] == "nightly"


@in_turn(
    "fields",
    [{}, {"do": "delete"}, {"do": "revoke"}, {"do": "revoke", "reason": "bored"}, {"reason": "compromised"}],
    ids=["nothing", "an unknown change", "no reason", "an unknown reason", "a reason alone"],
)
async def test_a_form_that_says_nothing_to_do_revokes_nothing(admin: Person, fields: dict[str, str]) -> None:
    issued = await admin.server.token()
    page = f"/console/tokens/{issued.token.id}"
    assert (await _sent(admin, page, **fields)).status_code == 400
    assert await _works(admin, issued.secret)
    assert (await _sent(admin, page, do="revoke", reason="revoked")).status_code == 303
    assert not await _works(admin, issued.secret)


async def test_a_field_that_repeats_makes_no_token(admin: Person) -> None:
    await admin.open(NEW)
    form = admin.form()
    form.pop("")
    twice = {**form, **GIVEN, "resource": ["https://api.example.com/orders", admin.server.settings.resource]}
    assert (await admin.http.post(NEW, data=twice)).status_code == 400
    await admin.open("/console/tokens?owner=ci")
    assert "nightly" not in admin.text


async def test_of_a_token_that_somebody_else_revoked_meanwhile_the_page_says_so(admin: Person) -> None:
    issued = await admin.server.token()
    page = f"/console/tokens/{issued.token.id}"
    await admin.open(page)
    await api_tokens.revoke(admin.server.runtime, issued.token.id, actor="test")
    answer = await admin.send({"do": "rotate", "overlap": "0"}, having="once")
    assert answer.status_code == 409
    assert "has expired or was revoked" in admin.text
    assert "Revoked" in admin.text


async def test_whose_a_new_token_is_stands_beside_it(admin: Person) -> None:
    await admin.open(NEW)
    await admin.send({**GIVEN, "owner": "ADA"})
    assert "Owner: Person ada" in " ".join(admin.text.split())


@pytest.mark.parametrize("what", ["a new token", "a new secret"])
async def test_a_form_that_the_database_failed_on_can_be_sent_again_and_then_makes_one_secret(
    admin: Person, what: str
) -> None:
    page, fields = NEW, GIVEN
    if what == "a new secret":
        page, fields = f"/console/tokens/{(await admin.server.token()).token.id}", {"do": "rotate"}
    outcomes = []
    for turn in range(1, 4):
        await admin.open(page)
        form = {**admin.form(having="once"), **fields}
        address = form.pop("")
        faults.arm(f"commit.begun=error@{turn}")
        try:
            first = await admin.http.post(address, data=form)
        finally:
            faults.arm(None)
        outcomes.append(first.status_code)
        if first.status_code == 503:
            assert "wwa_" not in first.text
            first = await admin.http.post(address, data=form)
        assert (first.status_code, "wwa_" in first.text) == (200, True)
        assert (await admin.http.post(address, data=form)).status_code == 303
    assert outcomes[0] == 503
    assert outcomes[-1] == 200, "every commit of the form failed once"


@pytest.mark.parametrize("what", ["a new token", "a new secret"])
async def test_ap_05_who_lost_the_right_between_look_and_change_gets_no_secret(
    admin: Person, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    server, ada = admin.server, await user_of(admin.server)
    await make(server, "zoe", "zoe@example.com", is_admin=True)
    page, fields = NEW, {**GIVEN, "scope": "watchword:admin"}
    if what == "a new secret":
        page, fields = f"/console/tokens/{(await server.token()).token.id}", {"do": "rotate", "overlap": "0"}
    assert "wwa_" in (await _sent(admin, page, **fields)).text, "who has the right is shown a secret"
    does = "create" if what == "a new token" else "rotate"
    made = getattr(api_tokens, does)

    async def demoted_just_now(*given: object, **more: object) -> object:
        await people.change(server.runtime, ada, Changes(is_admin=False), actor="test")
        return await made(*given, **more)

    await admin.open(page)
    form = {"csrf": admin.form()["csrf"], **fields}
    monkeypatch.setattr(api_tokens, does, demoted_just_now)
    answer = await admin.http.post(page, data=form)
    assert answer.status_code == 403
    assert "wwa_" not in answer.text
