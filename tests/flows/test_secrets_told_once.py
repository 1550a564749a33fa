"""What tells a secret this once tells it, whatever the database does after the secret is there."""

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.fixtures.accounts import add_totp, another, make
from tests.fixtures.people import Person, letters
from tests.fixtures.servers import Server, open_server
from tests.flows.test_api_tokens import reason

from watchword.flows import api_tokens, registration
from watchword.flows.client_auth import Credentials
from watchword.store import registrations
from watchword.store.conditions import for_the_first_time
from watchword.store.database import StorageUnavailable


class FailsAfterAWrite:
    """The server's database, which can be read and written no more after one operation, or any."""

    def __init__(self, database: Any, after: Any = None) -> None:
        self.database = database
        self.after = after
        self.is_gone = False

    async def write(self, *given: Any, **more: Any) -> Any:
        """Write, and be gone."""
        self._check()
        done = await self.database.write(*given, **more)
        self.is_gone = self.after is None or self.after in given
        return done

    async def read(self, *given: Any, **more: Any) -> Any:
        """Read while that is possible."""
        self._check()
        return await self.database.read(*given, **more)

    def version(self) -> int:
        """Return the version, which is known here."""
        return cast(int, self.database.version())

    def _check(self) -> None:
        if self.is_gone:
            raise StorageUnavailable("gone")


@contextmanager
def _failing_after_the_form(server: Server) -> Iterator[FailsAfterAWrite]:
    runtime, whole = server.runtime, server.runtime.database
    failing = FailsAfterAWrite(whole, for_the_first_time)
    runtime.database, runtime.listing, listing = cast(Any, failing), None, runtime.listing
    try:
        yield failing
    finally:
        runtime.database, runtime.listing = whole, listing


async def test_a_new_secret_is_told_though_the_database_fails_once_the_old_one_has_ended(
    server: Server,
) -> None:
    token, runtime = await server.token(), copy.copy(server.runtime)
    runtime.database = cast(Any, FailsAfterAWrite(server.runtime.database))
    rotated = await api_tokens.rotate(runtime, token.token.id, overlap=0, actor="test")
    assert (await reason(server, token), await reason(server, rotated)) == ("rotated", "active")


async def test_a_client_that_registers_itself_is_told_its_secret_and_token_though_the_database_fails_at_once(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, registration="open") as server:
        runtime = copy.copy(server.runtime)
        runtime.database = cast(Any, FailsAfterAWrite(server.runtime.database, registrations.register_client))
        stated = {"redirect_uris": ["https://app.example.com/back"]}
        made = await registration.register(runtime, Credentials(), stated)
        told = json.loads(json.dumps(registration.describe(made, server.settings)))
        assert told["client_id_issued_at"] == server.runtime.now()
        headers = {"authorization": f"Bearer {told['registration_access_token']}"}
        shown = await server.http.get(told["registration_client_uri"], headers=headers)
        assert shown.json() == {name: value for name, value in told.items() if "client_secret" not in name}
        assert told["client_secret"].startswith("wws_")


# A page, what its form says, and what the secret in the answer looks like.
FORMS: dict[str, tuple[str, dict[str, str], str]] = {
    "a token of a person": (
        "/console/tokens/new",
        {"name": "nightly", "owner": "eve", "scope": "orders:read", "days": "30"},
        "wwa_",
    ),
    "another secret of a token": ("/console/tokens/{token}", {"do": "rotate"}, "wwa_"),
    "another secret of a client": ("/console/clients/{client}", {"do": "add_secret"}, "wws_"),
    "a client": ("/console/clients/new/service", {"name": "Nightly"}, "wws_"),
    "a link for a person": ("/console/people/{user}", {"do": "reset"}, r"\?link=wwu_"),
    "an invitation": ("/console/people/new", {"do": "invite", "email": "eve@example.com"}, r"\?link=wwu_"),
    "recovery codes": ("/account/second_factors", {"do": "new_recovery_codes"}, r"\w{4}-\w{4}"),
}


@pytest.mark.parametrize(("page", "given", "secret"), FORMS.values(), ids=FORMS)
async def test_what_a_form_made_is_shown_though_the_database_fails_at_once(
    tmp_path: Path, page: str, given: dict[str, str], secret: str
) -> None:
    async with open_server(tmp_path, mode="development") as server, another(server) as browser:
        await make(server, is_admin=True)
        person = Person(server, browser)
        await person.sign_in()
        await add_totp(person)
        eve = await make(server, "eve", "eve@other.example")
        token, client = await server.token(owner="eve"), await server.client()
        await person.open(page.format(token=token.token.id, client=client.client.client_id, user=eve.id))
        form = {**person.form(having="once"), **given}
        address = form.pop("")
        await letters(server)
        with _failing_after_the_form(server) as failing:
            answer = await browser.post(address, data=form)
        assert failing.is_gone
        assert (answer.status_code, bool(re.search(secret, answer.text))) == (200, True)
        told = [to for to, _ in await letters(server)]
        assert ("eve@example.com" in told) == (given.get("do") == "invite")
        assert (await browser.post(address, data=form)).status_code == 303
