"""Groups at the console: set by administrators, about what they saw."""

from tests.fixtures.accounts import make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import act, form_of
from tests.fixtures.people import Person

from watchword.flows.users import people
from watchword.flows.users.people import Changes

__all__ = ["admin", "server"]


async def test_groups_are_set_and_one_that_was_left_meanwhile_is_not_given_back(admin: Person) -> None:
    server = admin.server
    user = await make(server, "kim", "kim@example.com")
    page = f"/console/people/{user.id}"
    assert await act(admin, page, "groups", groups=" staff  north ") == 200
    assert (await user_of(server, "kim")).groups == ("north", "staff")
    assert await act(admin, page, "groups", groups="staff,north") == 400
    assert "The name of a group has" in admin.text
    await admin.open(page)
    form = form_of(admin, "groups")
    assert form is not None
    form.pop("")
    await people.change(server.runtime, user, Changes(groups=("north",)), actor="ops")
    admin.page = await admin.http.post(page, data={**form, "groups": "north staff south"})
    assert admin.page.status_code == 400
    assert "Somebody changed this meanwhile" in admin.text
    assert 'value="north"' in admin.page.text, "as it is now"
    assert (await user_of(server, "kim")).groups == ("north",)
    assert await act(admin, page, "groups", groups="") == 200
    assert (await user_of(server, "kim")).groups == ()


async def test_people_are_found_by_their_group(admin: Person) -> None:
    for name, groups in (("kim", ("staff",)), ("lou", ("north",)), ("max", ())):
        user = await make(admin.server, name, f"{name}@example.com")
        await people.change(admin.server.runtime, user, Changes(groups=groups), actor="ops")

    async def listed(query: str) -> set[str]:
        await admin.open(f"/console/people?{query}")
        return {name for name in ("kim", "lou", "max") if f"{name}@example.com" in admin.page.text}

    assert await listed("") == {"kim", "lou", "max"}
    assert await listed("group=staff") == {"kim"}
    assert 'value="staff"' in admin.page.text, "what was asked stays in the form"
    assert await listed("group=staff&search=l") == await listed("group=staff&state=disabled") == set()
