"""People at the console: found, invited, made, changed, helped back in, switched off, deleted; and oneself, who is spared one's own slips."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.fixtures.accounts import EMAIL, OTHER, add_totp, another, make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import act, form_of
from tests.fixtures.people import Person, letters
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server

from watchword.flows.users import account_changes, accounts, people
from watchword.flows.users.people import Changes
from watchword.pages.console import frame
from watchword.pages.console import person as person_page
from watchword.store import identities
from watchword.store.audit import events
from watchword.store.audit.events import Event
from watchword.store.identities import RegisteredIdentity
from watchword.store.users import User

__all__ = ["admin", "server"]
LIST, NEW = "/console/people", "/console/people/new"


async def kim(server: Server) -> tuple[User, str]:
    """Make somebody; return their account and the address of its page."""
    user = await make(server, "kim", "kim@example.com")
    return user, f"{LIST}/{user.id}"


async def signed_in(server: Server, name: str = "kim", password: str | None = None) -> Person:
    """Return somebody at a browser of their own."""
    person = Person(server, another(server))
    await (person.sign_in(name, password) if password else person.sign_in(name))
    return person


async def named(server: Server, target: str, name: str = "") -> list[Event]:
    """Return what the audit trail says about something, newest first."""
    return await server.runtime.database.read(events.list_events, target=target, name=name, limit=50)


def shown_link(admin: Person) -> str:
    assert admin.page is not None
    found = re.search(r'id="person-link"[^>]*>(http[^<]+)<', admin.page.text)
    assert found is not None, admin.text
    return found[1]


async def test_people_are_found_by_name_by_address_and_by_what_they_are(admin: Person) -> None:
    server = admin.server
    await make(server, "kim", "k.lindqvist@example.com")
    lee = await accounts.create(server.runtime, username="Lee", actor="test")
    await account_changes.set_disabled(server.runtime, lee, True, actor="test")
    found = {
        query: re.findall(r'row-title"><a href="[^"]+"><bdi>(\w+)<', (await admin.open(f"{LIST}{query}")).text)
        for query in ("", "?search=LEE", "?search=K.Lind", "?search=%25", "?state=administrators", "?state=disabled", "?state=x")
    }  # fmt: skip
    assert found == {
        "": ["ada", "kim", "Lee"],
        "?search=LEE": ["Lee"],
        "?search=K.Lind": ["kim"],
        "?search=%25": [],
        "?state=administrators": ["ada"],
        "?state=disabled": ["Lee"],
        "?state=x": ["ada", "kim", "Lee"],
    }


async def test_a_long_list_is_gone_through_page_by_page_in_the_order_of_the_names(admin: Person) -> None:
    for number in range(frame.PAGE + 5):
        await accounts.create(admin.server.runtime, username=f"u{number:03}", actor="test")
    first = (await admin.open(f"{LIST}?search=u0")).text
    onward = re.search(r'href="([^"]+cursor=[^"]+)">Next page', first)
    assert onward is not None
    rest = (await admin.open(onward[1].replace("&amp;", "&"))).text
    assert "Next page" not in rest
    seen = [re.findall(r">(u\d{3})</bdi></a>", page) for page in (first, rest)]
    assert [len(page) for page in seen] == [frame.PAGE, 5]
    assert seen[0] + seen[1] == [f"u{number:03}" for number in range(frame.PAGE + 5)]


async def test_an_invitation_is_shown_once_and_makes_an_account(admin: Person) -> None:
    await admin.open(NEW)
    form = form_of(admin, "invite")
    assert form is not None
    form.pop("")
    status = await act(admin, NEW, "invite", **{**form, "email": "grace@example.com", "admin": "yes"})
    assert status == 200
    link = shown_link(admin)
    assert "72 hours" in admin.text
    assert "hand it over yourself" in admin.text, "this service sends no mail"
    again = await admin.http.post(NEW, data={**form, "email": "grace@example.com"})
    assert again.headers["location"].endswith(f"{LIST}?notice=person_once")
    grace = Person(admin.server, another(admin.server))
    await grace.open(link)
    await grace.send({"new_password": OTHER, "name": "Grace"}, having="link")
    assert (await user_of(admin.server, "grace@example.com")).is_admin
    made = (await named(admin.server, "g…e@example.com"))[0]
    own = await user_of(admin.server)
    assert (made.name, made.actor, made.data["purpose"]) == ("link.made", own.id, "invite")


async def test_ap_05_an_invitation_makes_no_administrator_once_who_made_it_is_none(admin: Person) -> None:
    server = admin.server
    await act(admin, NEW, "invite", email="grace@example.com", admin="yes")
    link = shown_link(admin)
    visitor = Person(server, another(server))
    assert (await visitor.open(link)).status_code == 200
    await make(server, "zoe", "zoe@example.com", is_admin=True)
    await people.change(server.runtime, await user_of(server), Changes(is_admin=False), actor="test")
    assert (await visitor.open(link)).status_code == 404


WRONG: Mapping[str, tuple[str, dict[str, str], str]] = {
    "an invitation to nobody": ("invite", {"email": " "}, "Fill this in."),
    "an invitation to what is no address": ("invite", {"email": "nowhere"}, "address"),
    "an invitation to an address with an account": ("invite", {"email": EMAIL}, "has an account already"),
    "an account without a name": ("create", {"username": ""}, "Fill this in."),
    "an account of a name that is taken": ("create", {"username": "ADA"}, "taken"),
    "an account of what is no name": ("create", {"username": "a b"}, "letters, digits"),
    "an account with what is no address": ("create", {"username": "kim", "address": "nowhere"}, "address"),
}


@in_turn("case", WRONG)
async def test_what_cannot_be_taken_is_said_beside_its_field_and_what_was_typed_is_kept(
    admin: Person, case: str
) -> None:
    do, given, says = WRONG[case]
    assert await act(admin, NEW, do, **given) == 400
    assert admin.page is not None
    assert says in admin.text
    assert 'aria-invalid="true"' in admin.page.text
    assert all(f'value="{value}"' in admin.page.text for value in given.values() if value.strip())
    assert await admin.server.runtime.lists.read(events.list_events, name="link.made", limit=1) == []


async def test_a_new_account_gets_a_link_by_which_its_person_comes_in(admin: Person) -> None:
    server = admin.server
    await act(admin, NEW, "create", username="kim", address="kim@example.com")
    assert "The account is created." in admin.text
    user = await user_of(server, "kim")
    assert (user.email, user.email_verified_at, user.is_admin) == ("kim@example.com", None, False)
    page = f"{LIST}/{user.id}"
    await admin.open(page)
    form = form_of(admin, "reset")
    assert form is not None
    form.pop("")
    admin.page = await admin.http.post(page, data=form)
    assert "24 hours" in admin.text
    link = shown_link(admin)
    again = await admin.http.post(page, data=form)
    assert again.headers["location"].endswith("notice=link_once"), (
        "loading the answer again makes no second link"
    )
    person = Person(server, another(server))
    await person.open(link)
    await person.send({"new_password": OTHER}, having="link")
    await person.sign_in("kim", OTHER)
    assert person.path == "/account"
    trail = [(event.name, event.actor) for event in await named(server, user.id)]
    own = await user_of(server)
    assert ("link.made", own.id) in trail
    assert ("user.created", own.id) in trail


async def test_lg_20_no_link_into_an_account_is_made_without_a_proof_of_now(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    assert await act(admin, page, "reset") == 200
    assert len(await named(server, user.id, "link.made")) == 1, "the honest variant"
    server.clock.advance(601)
    await act(admin, page, "reset")
    assert admin.path == "/step-up"
    await admin.open(NEW)
    assert admin.path == "/step-up"
    assert len(await named(server, user.id, "link.made")) == 1


async def test_name_and_address_are_changed_each_by_itself(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    assert await act(admin, page, "rename", display_name="  Kim L ") == 200
    changed = await user_of(server, "kim")
    assert (changed.display_name, changed.email_verified_at) == ("Kim L", user.created_at)
    assert await act(admin, page, "rename", display_name="x" * 300) == 400
    assert await act(admin, page, "address", email="new@example.com") == 200
    changed = await user_of(server, "kim")
    assert (changed.display_name, changed.email, changed.email_verified_at) == (
        "Kim L",
        "new@example.com",
        None,
    )
    assert await act(admin, page, "address", email="new@example.com", email_verified="yes") == 200
    assert (await user_of(server, "kim")).email_verified_at is not None
    for wrong in ("nowhere", " ", EMAIL):
        assert await act(admin, page, "address", email=wrong) == 400
    assert await act(admin, page, "rename", display_name="") == 200
    changed = await user_of(server, "kim")
    assert (changed.display_name, changed.email) == (None, "new@example.com")


async def test_an_address_that_was_changed_meanwhile_is_not_changed_back(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    await admin.open(page)
    form = form_of(admin, "address")
    assert form is not None
    form.pop("")
    await people.change(server.runtime, user, Changes(email="own@example.com"), actor=user.id)
    admin.page = await admin.http.post(page, data={**form, "email_verified": "yes"})
    assert admin.page.status_code == 400
    assert "Somebody changed this meanwhile" in admin.text
    assert 'value="own@example.com"' in admin.page.text, "as it is now"
    assert (await user_of(server, "kim")).email == "own@example.com"


async def test_switched_off_somebody_is_out_at_once_and_comes_in_again_when_switched_on(
    admin: Person,
) -> None:
    server = admin.server
    _user, page = await kim(server)
    person = await signed_in(server)
    assert await act(admin, page, "switch_off") == 200
    assert "The account is switched off." in admin.text
    assert (await person.open("/account")).url.path == "/sign-in"
    assert (await person.sign_in("kim")).status_code == 401
    await admin.open(page)
    assert form_of(admin, "switch_off") is None
    assert form_of(admin, "reset") is None, "a link would lead nowhere"
    assert await act(admin, page, "switch_on") == 200
    assert (await person.sign_in("kim")).url.path == "/account"


async def test_the_right_of_an_administrator_is_given_and_taken(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    assert await act(admin, page, "give") == 200
    assert (await user_of(server, "kim")).is_admin
    assert "Administrator" in admin.text
    assert await act(admin, page, "take") == 200
    assert not (await user_of(server, "kim")).is_admin
    own = await user_of(server)
    trail = [(one.name, one.actor, one.data.get("admin")) for one in await named(server, user.id)]
    assert trail[:2] == [("user.updated", own.id, False), ("user.updated", own.id, True)]


async def test_second_steps_are_removed_and_their_owner_is_told(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address, mode="development") as server:
        await make(server, is_admin=True)
        user, page = await kim(server)
        person, admin = await signed_in(server), await signed_in(server, "ada")
        await admin.open(page)
        assert form_of(admin, "remove_factors") is None, "there are none"
        await add_totp(person)
        assert await act(admin, page, "remove_factors") == 200
        assert not (await people.factors_of(server.runtime, user)).totp
        told = [text for to, text in await letters(server) if to == "kim@example.com"]
        assert any("An administrator removed every second step" in text for text in told)
        assert (await named(server, user.id))[0].name == "user.factors_removed"


async def test_an_invitation_is_mailed_where_there_is_mail(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address, mode="development") as server:
        await make(server, is_admin=True)
        admin = await signed_in(server, "ada")
        await act(admin, NEW, "invite", email="grace@example.com")
        assert "by mail as well" in admin.text
        to, text = (await letters(server))[0]
        assert to == "grace@example.com"
        assert shown_link(admin) in text
        assert "ada invites you" in text


async def test_an_account_is_deleted_when_its_name_was_typed(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    person = await signed_in(server)
    await admin.open(f"{page}/delete")
    assert (await admin.send({"identifier": "ada"}, having="identifier")).status_code == 400
    assert "That isn’t the name." in admin.text
    assert (await person.open("/account")).url.path == "/account"
    await admin.send({"identifier": "kim"}, having="identifier")
    assert admin.path == LIST
    assert "The account is deleted." in admin.text
    assert (await person.open("/account")).url.path == "/sign-in"
    assert (await admin.open(page)).status_code == 200
    assert "That was deleted already." in admin.text
    assert (await named(server, user.id))[0].name == "user.deleted"


async def test_somebody_is_signed_out_everywhere(admin: Person) -> None:
    server = admin.server
    _user, page = await kim(server)
    both = [await signed_in(server), await signed_in(server)]
    assert await act(admin, page, "end_all", end_access="yes") == 200
    assert {(await person.open("/account")).url.path for person in both} == {"/sign-in"}
    assert (await admin.open("/console")).status_code == 200, "the administrator stays"


@in_turn("do", sorted(person_page.CHANGES))
async def test_ones_own_account_is_not_changed_here(admin: Person, do: str) -> None:
    own = await user_of(admin.server)
    page = f"{LIST}/{own.id}"
    await admin.open(page)
    assert form_of(admin, do) is None
    assert "This is your own account." in admin.text
    await admin.open(NEW)
    form = {"csrf": admin.form()["csrf"], "do": do, "display_name": "x", "email": "x@example.com"}
    answer = await admin.http.post(page, data=form)
    assert answer.status_code == 400
    assert await user_of(admin.server) == own
    assert (await admin.open("/console")).status_code == 200


async def test_ones_own_account_is_not_deleted_here(admin: Person) -> None:
    own = await user_of(admin.server)
    await admin.open(NEW)
    csrf = admin.form()["csrf"]
    answer = await admin.http.post(f"{LIST}/{own.id}/delete", data={"csrf": csrf, "identifier": "ada"})
    assert answer.status_code == 400
    assert await user_of(admin.server) == own
    await admin.open(f"{LIST}/{own.id}/delete")
    assert admin.path == "/account/delete"


async def test_what_is_no_change_or_nobody_is_refused(admin: Person) -> None:
    _user, page = await kim(admin.server)
    await admin.open(NEW)
    csrf = admin.form()["csrf"]
    for do in ("", "promote", "__class__"):
        assert (await admin.http.post(page, data={"csrf": csrf, "do": do})).status_code == 400
    for path in (f"{LIST}/user_nobody", f"{LIST}/%00", f"{LIST}/user_nobody/delete"):
        assert (await admin.open(path)).status_code in (400, 404)
        assert (await admin.http.post(path, data={"csrf": csrf, "do": "give"})).status_code in (400, 404)


@pytest.mark.parametrize("do", ["take", "switch_off"])
async def test_of_two_administrators_who_end_each_others_power_at_once_one_stays(
    store: Store, tmp_path: Path, do: str
) -> None:
    async with open_server(tmp_path, on=store.address, mode="development") as server:
        await make(server, is_admin=True)
        await make(server, "zoe", "zoe@example.com", is_admin=True)
        sent = []
        for name, other in (("ada", "zoe"), ("zoe", "ada")):
            admin = await signed_in(server, name)
            await admin.open(f"{LIST}/{(await user_of(server, other)).id}")
            form = form_of(admin, do)
            assert form is not None
            sent.append(admin.http.post(form.pop(""), data=form))
        answers = await asyncio.gather(*sent)
        assert all(answer.status_code < 500 for answer in answers)
        left = [await user_of(server, name) for name in ("ada", "zoe")]
        assert sum(user.is_admin and user.disabled_at is None for user in left) == 1


async def test_a_key_of_their_own_that_signs_somebody_in_is_counted_as_long_as_it_does(admin: Person) -> None:
    server = admin.server
    user, page = await kim(server)
    now = server.runtime.now()
    for place, (until, revoked) in enumerate(((now + 60, None), (now - 1, None), (now + 60, now - 1))):
        identity = RegisteredIdentity(
            id=f"zid_{place}", owner_kind="user", owner_id=user.id, name="laptop", document="{}",
            registered_at=now - 60, expires_at=until,
        )  # fmt: skip
        point = str(place).encode()
        assert await server.runtime.database.write(
            identities.register_identity, identity, point, actor="test"
        )
        if revoked:
            assert await server.runtime.database.write(
                identities.revoke_identity, point, owner_id=user.id, actor="test", now=revoked
            )
    await admin.open(page)
    assert re.search(r"Own keys\s+1\b", admin.text), admin.text


async def test_of_somebody_with_very_many_sessions_the_page_shows_some_and_leads_to_all(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = admin.server
    user, page = await kim(server)
    monkeypatch.setattr(frame, "PAGE", 2)
    way = f'href="{server.settings.issuer}/console/sessions?user={user.id}"'
    for count in (2, 3):
        while len(await people.live_sessions(server.runtime, user.id)) < count:
            await signed_in(server)
        await admin.open(page)
        assert admin.page is not None
        assert (way in admin.page.text) == (count == 3)
    assert admin.page is not None
    assert admin.page.text.count('name="session"') == 2
