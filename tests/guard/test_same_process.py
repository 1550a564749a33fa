"""An authorization server in the process of its guard: asked from wherever the API runs, on each database."""

import asyncio
from pathlib import Path

import pytest
from tests.fixtures.other_issuer import ask
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.guard.test_guard import dpop

from watchword.guard import Guard, Presented, Refused
from watchword.jose import jwk
from watchword.store import token_usage
from watchword.store.audit import events


async def test_it_answers_threads_and_other_loops_than_its_own(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address) as server:
        guard = Guard(server.app, clock=server.clock)
        key = jwk.generate("ES256")
        token, bound = (await server.token()).secret, (await server.token(jkt=key.thumbprint)).secret
        plain = Presented(authorization=(f"Bearer {token}",))
        proof = dpop(key, bound, server.clock())
        proven = Presented(
            authorization=(proof["authorization"],), dpop=(proof["dpop"],), uri="http://api.test/orders"
        )

        def in_a_thread(presented: Presented) -> str:
            return guard.authenticate_sync(presented).subject

        def in_another_loop(presented: Presented) -> str:
            return asyncio.run(ask(Guard(server.app, clock=server.clock), token)).subject

        elsewhere = [in_a_thread, in_another_loop] * 5
        found = await asyncio.gather(*(asyncio.to_thread(one, plain) for one in elsewhere))
        assert set(found) == {"application:reports"}
        assert await asyncio.to_thread(in_a_thread, proven) == "application:reports"
        with pytest.raises(Refused, match="used before"):
            await asyncio.to_thread(in_a_thread, proven)
        in_the_clear = Presented(authorization=plain.authorization, address="203.0.113.9", secure=False)
        with pytest.raises(Refused, match="unencrypted"):
            await asyncio.to_thread(in_a_thread, in_the_clear)
        reported = await server.runtime.database.read(events.list_events, limit=1, name="token.exposed")
        assert len(reported) == 1
        assert (await guard.authenticate(plain)).subject == "application:reports", "and here as before"
        if store.kind == "postgres":
            assert server.app._local is not None
            server.app._local._home = stopped = asyncio.new_event_loop()  # as after `asyncio.run(app.open())`
            another = Presented(authorization=(f"Bearer {(await server.token()).secret}",))
            with pytest.raises(Refused) as refused:
                await asyncio.to_thread(in_a_thread, another)
            assert refused.value.status == 503, "it would wait for ever"
            stopped.close()


@pytest.mark.parametrize("sent", ["203.0.113.9", "203.0.113.9:52114"], ids=["alone", "with its port"])
async def test_each_use_is_recorded_with_the_callers_address(server: Server, sent: str) -> None:
    token = await server.token()
    guard = Guard(server.app, clock=server.clock)
    for uses in (1, 2):  # the second is answered from memory
        assert await guard.authenticate(Presented(authorization=(f"Bearer {token.secret}",), address=sent))
        await server.runtime.usage.flush(server.runtime.database)
        (used,) = await server.runtime.database.read(token_usage.list_secret_uses, token.token.id)
        assert (used.outcomes, used.last_address) == ({"active": uses}, "203.0.113.9")
