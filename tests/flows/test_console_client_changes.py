"""The console's applications: changed by one administrator at a time, given secrets, switched off and deleted."""

import asyncio

from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.flows.test_console_clients import (
    CALLBACK,
    DOCUMENT,
    ORDERS,
    a_document,
    asks,
    press,
    shown_secret,
    stored,
)

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.oauth.clients import Client
from watchword.store import clients

__all__ = ["admin", "server"]


async def test_what_is_changed_is_changed_and_all_else_stays(admin: Person) -> None:
    server = admin.server
    registered = await server.client(
        name="Before",
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        resources=["https://old.example.com/api"],
        access_token_lifetime=60,
        dpop_bound_access_tokens=True,
        backchannel_logout_uri="https://app.example.com/logout",
    )
    before = await stored(server, registered.client.client_id)
    await admin.open(f"/console/clients/{before.client_id}/edit")
    assert "https://old.example.com/api" in admin.text
    given = {
        "name": "After",
        "redirect_uris": f"{CALLBACK}\n{CALLBACK}2",
        "post_logout_redirect_uris": "https://app.example.com/",
        "scope": "openid  orders:read",
        "resource": [ORDERS, "https://old.example.com/api"],
        "access_token_format": "opaque",
    }
    assert (await admin.send(given, having="version")).status_code == 200
    assert "The application is changed." in admin.text
    after = await stored(server, before.client_id)
    assert (after.name, after.redirect_uris, after.scope) == (
        "After",
        (CALLBACK, CALLBACK + "2"),
        ("openid", "orders:read"),
    )
    assert after.resources == ("https://old.example.com/api", ORDERS), (
        "what comes first is what it gets unasked"
    )
    assert after.post_logout_redirect_uris == ("https://app.example.com/",)
    assert (after.access_token_lifetime, after.dpop_bound_access_tokens) == (60, True)
    assert after.backchannel_logout_uri == before.backchannel_logout_uri
    assert after.version == before.version + 1


async def test_a_wrong_change_names_its_field_and_changes_nothing(admin: Person) -> None:
    registered = await admin.server.client(redirect_uris=[CALLBACK], grant_types=["authorization_code"])
    client_id = registered.client.client_id
    await admin.open(f"/console/clients/{client_id}/edit")
    given = {"redirect_uris": CALLBACK, "post_logout_redirect_uris": "https://app.example.com/#x"}
    answer = await admin.send(given, having="version")
    assert answer.status_code == 400
    assert "post_logout_redirect_uris-error" in answer.text
    assert "https://app.example.com/#x" in admin.text
    assert (await admin.send({"redirect_uris": ""}, having="version")).status_code == 400
    assert (await stored(admin.server, client_id)).version == 1


async def test_ad_09_of_two_changes_at_once_one_is_made_and_the_other_shows_it(admin: Person) -> None:
    registered = await admin.server.client(name="Before")
    page = f"/console/clients/{registered.client.client_id}/edit"
    await admin.open(page)
    form = admin.form(having="version")
    form.pop("")
    answers = await asyncio.gather(
        *(admin.http.post(page, data={**form, "name": name}) for name in ("One", "Two"))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert "Somebody else changed it meanwhile" in refused.text
    now = await stored(admin.server, registered.client.client_id)
    assert f'value="{now.name}"' in refused.text, "what it is now"
    admin.page = refused
    assert (await admin.send({"name": "Three"}, having="version")).status_code == 200
    assert (await stored(admin.server, registered.client.client_id)).name == "Three"


@in_turn("version", ["", "0", "-1", "x", "9" * 30])
async def test_a_change_without_its_version_is_none(admin: Person, version: str) -> None:
    registered = await admin.server.client(name="Before")
    await admin.open(f"/console/clients/{registered.client.client_id}/edit")
    answer = await admin.send({"name": "After", "version": version}, having="version")
    assert answer.status_code in (400, 409)
    assert (await stored(admin.server, registered.client.client_id)).name == "Before"


async def test_a_second_secret_works_beside_the_first_until_the_overlap_ends(admin: Person) -> None:
    server = admin.server
    registered = await server.client()
    client_id, first = registered.client.client_id, registered.client_secret or ""
    await admin.open(f"/console/clients/{client_id}")
    await press(admin, "add_secret", overlap="3600")
    second = shown_secret(admin)
    assert first != second
    assert [await asks(server, client_id, one) for one in (first, second)] == [200, 200]
    server.clock.advance(3601)
    assert [await asks(server, client_id, one) for one in (first, second)] == [401, 200]


async def test_a_form_for_a_secret_that_is_sent_again_makes_no_second_one(admin: Person) -> None:
    registered = await admin.server.client()
    page = f"/console/clients/{registered.client.client_id}"
    await admin.open(page)
    form = {**admin.form(having="once"), "do": "add_secret", "overlap": "0"}
    form.pop("")
    assert (await admin.http.post(page, data=form)).status_code == 200
    assert (await admin.http.post(page, data=form)).headers["location"].endswith("client_once")
    assert len(await client_registry.secrets_of(admin.server.runtime, registered.client.client_id)) == 2


async def test_a_secret_that_is_ended_is_refused_at_once(admin: Person) -> None:
    registered = await admin.server.client()
    client_id, secret = registered.client.client_id, registered.client_secret or ""
    assert await asks(admin.server, client_id, secret) == 200
    await admin.open(f"/console/clients/{client_id}")
    await press(admin, "end_secret")
    assert "The secret no longer works." in admin.text
    assert "no secret" in admin.text
    assert await asks(admin.server, client_id, secret) == 401


async def test_nobody_gives_a_secret_to_who_can_keep_none_or_ends_that_of_another(admin: Person) -> None:
    public = await admin.server.client(token_endpoint_auth_method="none", grant_types=["refresh_token"])
    other = await admin.server.client()
    page = f"/console/clients/{public.client.client_id}"
    await admin.open(page)
    assert "Add a secret" not in admin.text
    form = {**admin.form(), "secret": str(other.client_secret_id), "overlap": "0"}
    form.pop("")
    assert (await admin.http.post(page, data={**form, "do": "add_secret"})).status_code == 400
    assert (await admin.http.post(page, data={**form, "do": "end_secret"})).status_code == 404
    assert (await admin.http.post(page, data={**form, "do": "dance"})).status_code == 400
    assert await asks(admin.server, other.client.client_id, other.client_secret or "") == 200


async def test_ad_07_an_application_that_is_switched_off_is_worth_nothing_until_it_is_on_again(
    admin: Person,
) -> None:
    registered = await admin.server.client()
    client_id, secret = registered.client.client_id, registered.client_secret or ""
    assert await asks(admin.server, client_id, secret) == 200
    page = f"/console/clients/{client_id}"
    for what, says, status in (("switch_off", "Switched off", 401), ("switch_on", "switched on", 200)):
        await admin.open(page)
        await press(admin, what)
        assert says in admin.text
        assert await asks(admin.server, client_id, secret) == status


async def test_nothing_that_an_application_names_keeps_it_from_being_switched_off(admin: Person) -> None:
    server = admin.server
    client = Client(
        client_id="sly",
        name="Sly",
        token_endpoint_auth_method="none",
        subject_type="pairwise",
        sector_identifier_uri="https://nobody.invalid/sector.json",
        redirect_uris=(CALLBACK,),
        grant_types=("authorization_code",),
        response_types=("code",),
        origin="dynamic",
    )
    await server.runtime.database.write(clients.create_client, client, actor="test", now=server.runtime.now())
    await admin.open("/console/clients/sly")
    form = admin.form()
    form.pop("")
    off = await admin.http.post("/console/clients/sly", data={**form, "do": "switch_off"})
    assert off.headers["location"].endswith("notice=client_off")
    assert (await stored(server, "sly")).disabled_at is not None
    on = await admin.http.post("/console/clients/sly", data={**form, "do": "switch_on"})
    assert on.status_code == 400
    assert "The sector_identifier_uri cannot be read." in on.text
    assert (await stored(server, "sly")).disabled_at is not None


async def test_ad_07_an_application_is_deleted_by_its_name_and_by_nothing_else(admin: Person) -> None:
    registered = await admin.server.client(name="Nightly  Backup")
    client_id, secret = registered.client.client_id, registered.client_secret or ""
    page = f"/console/clients/{client_id}/delete"
    await admin.open(page)
    for typed in ("", "nightly backup", "Nightly", "client"):
        assert (await admin.send({"name": typed}, having="name")).status_code == 400
    assert await asks(admin.server, client_id, secret) == 200
    assert (await admin.send({"name": " Nightly Backup "}, having="name")).status_code == 200
    assert admin.path == "/console/clients"
    assert await asks(admin.server, client_id, secret) == 401
    assert (await admin.open(page)).status_code == 200
    assert "That was deleted already." in admin.text
    await admin.open(f"/console/events?target={client_id}")
    assert "client.deleted" in admin.text


async def test_who_describes_itself_by_a_document_is_looked_at_switched_off_and_deleted_but_not_changed(
    admin: Person,
) -> None:
    page = await a_document(admin.server)
    await admin.open(page)
    assert "described by a document at" in admin.text
    assert "Change what it may" not in admin.text
    csrf = admin.form()["csrf"]
    refused = await admin.http.post(
        f"{page}/edit", data={"csrf": csrf, "version": "1", "name": "Mine", "redirect_uris": CALLBACK}
    )
    assert refused.status_code == 409
    assert (await admin.http.get(f"{page}/edit")).status_code == 409
    client = await stored(admin.server, DOCUMENT)
    assert (client.name, client.version) == ("Agent", 1)
    await press(admin, "switch_off")
    assert "Switched off" in admin.text
    assert (await stored(admin.server, DOCUMENT)).disabled_at is not None
    await admin.open(f"{page}/delete")
    assert "It will be back" in admin.text
    assert (await admin.send({"name": DOCUMENT}, having="name")).status_code == 200
    assert await admin.server.runtime.database.read(clients.find_client, DOCUMENT) is None


async def test_who_registered_itself_may_be_changed_and_that_is_said_not_to_last(admin: Person) -> None:
    given = ClientInput(name="Stranger", redirect_uris=[CALLBACK], grant_types=["authorization_code"])
    registered = await client_registry.register(admin.server.runtime, given, actor="test", origin="dynamic")
    await admin.open(f"/console/clients/{registered.client.client_id}/edit")
    assert "can replace what you change here" in admin.text
    await admin.send({"name": "Known", "redirect_uris": CALLBACK}, having="version")
    client = await stored(admin.server, registered.client.client_id)
    assert (client.name, client.origin) == ("Known", "dynamic")
