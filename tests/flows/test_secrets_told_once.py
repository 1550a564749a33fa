"""What tells a secret this once tells it, whatever the database does after the secret is there."""

import copy
from typing import Any, cast

from tests.fixtures.servers import Server
from tests.flows.test_api_tokens import reason

from watchword.flows import api_tokens
from watchword.store.database import StorageUnavailable


class FailsAfterAWrite:
    """The server's database, which can be read no more once something was written."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.is_gone = False

    async def write(self, *given: Any, **more: Any) -> Any:
        """Write, and be gone."""
        done = await self.database.write(*given, **more)
        self.is_gone = True
        return done

    async def read(self, *given: Any, **more: Any) -> Any:
        """Read while that is possible."""
        if self.is_gone:
            raise StorageUnavailable("gone")
        return await self.database.read(*given, **more)


async def test_a_new_secret_is_told_though_the_database_fails_once_the_old_one_has_ended(
    server: Server,
) -> None:
    token, runtime = await server.token(), copy.copy(server.runtime)
    runtime.database = cast(Any, FailsAfterAWrite(server.runtime.database))
    rotated = await api_tokens.rotate(runtime, token.token.id, overlap=0, actor="test")
    assert (await reason(server, token), await reason(server, rotated)) == ("rotated", "active")
