"""LG-16: sign-ins that are under way when their person ends the sessions of their devices."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import session_of, user_of
from tests.fixtures.people import Person
from tests.fixtures.servers import Server

from watchword.flows import sessions
from watchword.flows.users import people
from watchword.oauth.errors import OAuthError
from watchword.store import sessions as store
from watchword.store.sessions import Session

__all__ = ["ada", "server"]


async def end_all_others(server: Server, mine: Session, lost: Session) -> None:
    given = {"but": mine.id, "actor": mine.user_id, "now": server.runtime.now()}
    await server.runtime.database.write(store.end_sessions_of, mine.user_id, **given)


async def end_the_lost_one(server: Server, mine: Session, lost: Session) -> None:
    await people.end_session(server.runtime, lost.id, actor="operator")


async def end_everything(server: Server, mine: Session, lost: Session) -> None:
    await people.end_sessions(server.runtime, await user_of(server), lasting=True, actor="operator")


@pytest.mark.parametrize("end", [end_all_others, end_the_lost_one, end_everything])
async def test_lg_16_a_sign_in_that_is_under_way_begins_no_session_after_the_end_of_its_devices(
    ada: Person, end: Callable[[Server, Session, Session], Awaitable[None]]
) -> None:
    server, mine = ada.server, await session_of(ada.server)
    await elsewhere(server)
    lost, proved = await session_of(server), await user_of(server)
    given: dict[str, Any] = {"acr": "", "amr": ("pwd",), "user_agent": "", "address": "", "instead_of": lost}
    assert await sessions.begin(server.runtime, proved.id, proved=proved, **given), "the honest variant"
    await end(server, mine, lost)  # and with it the trust by which the device was spared a second factor
    with pytest.raises(OAuthError) as refused:
        await sessions.begin(server.runtime, proved.id, proved=proved, **given)
    assert refused.value.code == "access_denied"
    anew = await user_of(server)
    assert await sessions.begin(server.runtime, anew.id, proved=anew, **given), "whoever proves it anew"
