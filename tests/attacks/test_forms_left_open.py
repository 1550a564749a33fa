"""SE-09: a form that one person left open does nothing to the account of who signs in at the same browser next."""

import pytest
from tests.fixtures.accounts import ada, another, make, server, sign_out, user_of
from tests.fixtures.people import Person, letters

from watchword.store import api_tokens
from watchword.store.audit import events

__all__ = ["ada", "server"]
# By the page that has it, a form of the account: the field that tells it from others there, and what is filled in.
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "/account": ("name", {"name": "Eve"}),
    "/account/email": ("csrf", {"email": "new@example.com"}),
    "/account/tokens/new": ("name", {"name": "hers", "scope": "notes:read", "days": "30"}),
    "/account/second_factors": ("once", {"do": "new_recovery_codes"}),
}
REFUSED = "for another browser or another account"


async def happened(person: Person) -> list[str]:
    """Return the events of the audit trail, and to whom mails were sent."""
    found = await person.server.runtime.database.read(events.list_events, limit=200)
    return [one.name for one in found] + [to for to, _ in await letters(person.server)]


@pytest.mark.parametrize("path", FORMS)
async def test_se_09_a_form_left_open_changes_nothing_of_who_signs_in_next(ada: Person, path: str) -> None:
    having, filled = FORMS[path]
    await make(ada.server, "eve", "eve@example.com")
    await ada.sign_in("eve")
    await ada.open(path)
    left_open = {**ada.form(having=having), **filled}
    address = left_open.pop("")
    await sign_out(ada)
    await ada.sign_in("ada")
    before = await happened(ada)
    refused = await ada.http.post(address, data=left_open)
    assert (refused.status_code, REFUSED in refused.text) == (400, True)
    assert await happened(ada) == before
    await ada.open(path)
    answer = await ada.send(filled, having=having)
    assert answer.status_code == 200, "the honest variant: a form of her own"
    assert await happened(ada) != before


async def test_se_09_a_form_of_the_console_is_that_of_the_administrator_who_opened_it(ada: Person) -> None:
    for name in ("eve", "zoe"):
        await make(ada.server, name, f"{name}@example.com", is_admin=True)
    token = await ada.server.token()
    await ada.sign_in("eve")
    page = f"/console/tokens/{token.token.id}"
    await ada.open(page)
    left_open = {**ada.form(having="reason"), "do": "revoke", "reason": "revoked"}
    address = left_open.pop("")
    await sign_out(ada)
    await ada.sign_in("zoe")
    refused = await ada.http.post(address, data=left_open)
    assert (refused.status_code, REFUSED in refused.text) == (400, True)
    await ada.open(page)
    await ada.send({"do": "revoke", "reason": "revoked"}, having="reason")
    found = await ada.server.runtime.database.read(api_tokens.get_token, token.token.id)
    assert found is not None
    assert found.revoked_at is not None, "the honest variant"
    (revoked,) = await ada.server.runtime.database.read(events.list_events, limit=1, name="token.revoked")
    assert revoked.actor == (await user_of(ada.server, "zoe")).id


async def test_se_09_a_sign_out_form_left_open_ends_no_sessions_elsewhere_of_who_signs_in_next(
    ada: Person,
) -> None:
    await make(ada.server, "eve", "eve@example.com")
    await ada.sign_in("eve")
    await ada.open("/sign-out")
    left_open = {**ada.form(), "decision": "sign_out", "everywhere": "yes"}
    address = left_open.pop("")
    await sign_out(ada)
    await ada.sign_in("ada")
    elsewhere = Person(ada.server, another(ada.server))
    await elsewhere.sign_in("ada")
    refused = await ada.http.post(address, data=left_open)
    assert (refused.status_code, REFUSED in refused.text) == (400, True)
    await elsewhere.open("/account")
    assert elsewhere.path == "/account"
    await ada.open("/sign-out")
    await ada.send({"decision": "sign_out", "everywhere": "yes"})
    await elsewhere.open("/account")
    assert elsewhere.path == "/sign-in", "the honest variant: a form of her own"
