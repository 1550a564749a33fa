"""What is gone: a second click on a form that deletes, a page that is loaded again, an address that never was."""

import pytest
from tests.fixtures.accounts import make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn

from watchword.flows.clients import client_registry
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput

__all__ = ["admin", "server"]
GONE, NOT_HERE = "That was deleted already.", "What you asked for doesn’t exist, or no longer does."


async def _deletion(admin: Person, section: str) -> tuple[str, dict[str, str]]:
    """Return the address of a page that deletes something, and what its form carries when it is filled in."""
    server = admin.server
    if section == "people":
        await make(server, "kim", "kim@example.com")
        page, typed = f"/console/people/{(await user_of(server, 'kim')).id}/delete", {"identifier": "kim"}
    elif section == "clients":
        client = (await server.client(name="Shop")).client
        page, typed = f"/console/clients/{client.client_id}/delete", {"name": "Shop"}
    elif section == "trust":
        given = TrustInput(name="deploy", issuer="https://ci.example.com", scope="deploy",
                           claims={"repository": "acme/shop"}, subject="ci:{repository}")  # fmt: skip
        rule = await trust_rules.create(server.runtime, given, actor="test")
        page, typed = f"/console/trust/{rule.id}", {}
    else:
        (key, _), *_ = await server.runtime.keyring.states()
        page, typed = f"/console/keys/{key.kid}", {"beginning": key.kid[:8]}
    await admin.open(page)
    form = admin.form(having=next(iter(typed), "csrf"))
    form.pop("")
    return page, {**form, **typed}


@pytest.mark.parametrize("section", ["people", "clients", "trust", "keys"])
async def test_a_second_click_on_deleting_leads_to_the_list_that_says_it_is_gone(
    admin: Person, section: str
) -> None:
    page, form = await _deletion(admin, section)
    assert (await admin.http.post(page, data=form)).status_code == 303
    again = await admin.http.post(page, data=form)
    assert again.status_code == 303
    assert (await admin.open(again.headers["location"])).status_code == 200
    assert admin.path == f"/console/{section}"
    assert GONE in admin.text
    assert (await admin.open(page)).status_code == 200
    assert GONE in admin.text


@in_turn("section", ["people", "clients", "trust", "keys", "tokens"])
@in_turn("identifier", ["nothing", "user_" + 32 * "0", "%C2%AD%0A"])
async def test_what_never_was_is_answered_by_the_list_and_claims_no_end(
    admin: Person, section: str, identifier: str
) -> None:
    answer = await admin.open(f"/console/{section}/{identifier}")
    assert answer.status_code == 404
    assert NOT_HERE in admin.text
    assert GONE not in admin.text
    assert f'href="{admin.server.settings.issuer}/console/{section}" aria-current="page"' in answer.text


async def test_a_secret_that_was_ended_already_is_said_on_the_page_of_its_application(admin: Person) -> None:
    client = (await admin.server.client(name="Shop")).client
    (secret,) = await client_registry.secrets_of(admin.server.runtime, client.client_id)
    await admin.open(f"/console/clients/{client.client_id}")
    form = admin.form(having="secret")
    address = form.pop("")
    assert form["secret"] == secret.id
    assert (await admin.http.post(address, data=form)).status_code == 303
    again = await admin.http.post(address, data=form)
    assert again.status_code == 404
    assert "There is no such secret." in again.text
    assert "Shop" in again.text
