"""Forms of the console that are sent from a page left open, or gone back to."""

from tests.fixtures.accounts import make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import act, form_of
from tests.fixtures.people import Person

from watchword.store.audit import events

__all__ = ["admin", "server"]
NEW = "/console/people/new"


async def test_a_form_that_made_nothing_can_be_corrected_and_sent_again(admin: Person) -> None:
    server = admin.server
    await make(server, "kim", "kim@example.com")
    await admin.open(NEW)
    form = form_of(admin, "create")
    assert form is not None
    path = form.pop("")
    taken = await admin.http.post(path, data={**form, "username": "kim"})
    assert taken.status_code == 400, "another has the name"
    made = await admin.http.post(path, data={**form, "username": "lee"})
    assert made.headers["location"].endswith(f"{(await user_of(server, 'lee')).id}?notice=person_created")
    again = await admin.http.post(path, data={**form, "username": "max"})
    assert again.headers["location"].endswith("notice=person_once"), "it is accepted once"


async def test_no_link_is_made_into_an_account_that_was_switched_off_meanwhile(admin: Person) -> None:
    server = admin.server
    user = await make(server, "kim", "kim@example.com")
    page = f"/console/people/{user.id}"
    await admin.open(page)
    left_open = form_of(admin, "reset")
    assert left_open is not None
    path = left_open.pop("")
    assert await act(admin, page, "switch_off") == 200
    admin.page = await admin.http.post(path, data=left_open)
    assert "Somebody changed this meanwhile" in admin.text
    assert await act(admin, page, "switch_on") == 200
    admin.page = await admin.http.post(path, data=left_open)
    assert "24 hours" in admin.text, "the honest variant"
    made = await server.runtime.database.read(events.list_events, name="link.made", limit=9)
    assert [one.target for one in made] == [user.id]
