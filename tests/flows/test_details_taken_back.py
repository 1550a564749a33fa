"""RFC 9396: details that a person agreed to, and takes back in the moment in which they agree to others."""

import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fixtures.accounts import user_of
from tests.fixtures.servers import Server
from tests.flows.test_authorization_details import ACCOUNTS, asking, rich, server

from watchword.flows import authorization_requests, consents
from watchword.flows.consents import Agreed
from watchword.flows.runtime import Runtime
from watchword.store.consents import find_consent
from watchword.store.database import Database
from watchword.store.sessions import Session
from watchword.store.user_changes import end_grants_of

__all__ = ["server"]


class Meanwhile:
    """A database before whose next change something else happens."""

    def __init__(self, database: Database, something: Callable[[], Awaitable[object]]) -> None:
        self._database, self._something = database, something

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, *given: Any, **more: Any) -> Any:
        await self._something()
        return await self._database.write(*given, **more)


async def test_details_that_are_taken_back_while_others_are_agreed_to_stay_taken_back(server: Server) -> None:
    client, balances = await rich(server), ACCOUNTS | {"actions": ["read_balances"]}
    listing = ACCOUNTS | {"actions": ["list_accounts"]}
    runtime, user_id = server.runtime, (await user_of(server)).id
    session = Session("session_1", user_id, 0, 0, 0, 0, 0, "", (), "", "")

    async def answer(runtime: Runtime, *details: Any) -> None:
        parameters = asking(client, *details, scope="orders:read")
        asked, known, _ = await authorization_requests.read(runtime, parameters, ())
        agreed = Agreed(asked.scope, asked.authorization_details)
        await runtime.database.write(consents.remembering(runtime, asked, known, session, agreed))

    async def remembered() -> list[Any]:
        audience = server.settings.resource
        found = await runtime.database.read(find_consent, user_id, client.client.client_id, audience)
        return json.loads(found.authorization_details) if found else []

    async def take_back() -> None:
        given = {"reason": "ended", "actor": user_id, "now": runtime.now()}
        await runtime.database.write(end_grants_of, user_id, **given)

    await answer(runtime, balances)
    await answer(runtime, listing)
    assert await remembered() == [balances, listing], "the honest variant"
    meanwhile = copy.copy(runtime)
    meanwhile.database = Meanwhile(runtime.database, take_back)
    await answer(meanwhile, listing)
    assert await remembered() == [listing]
