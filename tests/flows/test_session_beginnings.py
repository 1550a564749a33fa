"""How a session begins: what is noted of it, for how long, and what becomes of the one that the browser had."""

from pathlib import Path

import pytest
from tests.fixtures.accounts import make, user_of
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.flows import sessions
from watchword.oauth.errors import OAuthError
from watchword.store.database import Transaction
from watchword.store.sessions import Session
from watchword.store.users import User


async def begin(server: Server, user: User, **given: object) -> tuple[Session, str]:
    """Begin a session for a person."""
    how: dict[str, object] = {"acr": "1", "amr": ("pwd",), "user_agent": "a browser", "address": "127.0.0.1"}
    return await sessions.begin(server.runtime, user.id, **(how | given))  # type: ignore[arg-type]  # as named


async def test_what_is_noted_of_a_session_is_bounded_by_its_beginning_and_its_end(
    store: Store, tmp_path: Path
) -> None:
    async with open_server(tmp_path, on=store.address, session_idle=7200, session_lifetime=3600) as server:
        user, now = await make(server), server.runtime.now()
        session, cookie = await begin(server, user, proved_at=now + 5, user_agent="x" * 500)
        assert (session.authenticated_at, session.confirmed_at) == (now, now), (
            "a provider's clock may be ahead"
        )
        assert session.user_agent == "x" * 200
        assert (session.idle_expires_at, session.expires_at) == (now + 3600, now + 3600)
        found = await sessions.visitor(server.runtime, cookie)
        assert found is not None
        assert found[0] == session
        session, _ = await begin(server, user, proved_at=now - 5)
        assert (session.authenticated_at, session.confirmed_at) == (now - 5, now - 5)


async def test_a_session_that_does_not_begin_ends_nobodys_and_brings_nothing_along(server: Server) -> None:
    ada, outdated = await make(server), await make(server, "eve", "eve@example.com")
    eve = await user_of(server, "eve")
    assert eve.proof_epoch > outdated.proof_epoch, "by the change of her address"
    here, cookie = await begin(server, ada)
    done: list[str] = []

    async def along(tx: Transaction, session: Session) -> None:
        done.append(session.user_id)

    with pytest.raises(OAuthError, match="access_denied"):
        await begin(server, eve, instead_of=here, proved=outdated, along=along)
    assert done == []
    assert await sessions.visitor(server.runtime, cookie) is not None, "ada's goes on"
    await begin(server, eve, instead_of=here, proved=eve, along=along)
    assert done == [eve.id], "the honest variant"
    assert await sessions.visitor(server.runtime, cookie) is None, "of another person's, in the same browser"
