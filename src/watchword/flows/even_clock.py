"""Whether this process's clock may be trusted with purging, which cannot be undone (F-10).

If a clock that is thirty days ahead purged the row of a revoked token as expired, nobody would know of the revocation once the
clock is right again. So nothing is purged for an hour after the clock has jumped, nor while it is ahead of the database's. After
sleep, a machine's clock seems to have jumped too; then purging waits without need.
"""

import time
from collections.abc import Callable

from watchword.store import moments
from watchword.store.database import Database

JUMP = 60.0  # seconds by which the clock may differ from the monotonic one since the last look, and from the database's
WAIT = 3600.0  # seconds without a jump after which the clock is trusted again


class EvenClock:
    """Watches a clock for jumps, from one call of `doubt` to the next."""

    def __init__(self, clock: Callable[[], float], passed: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._passed = clock, passed
        self._seen = (clock(), passed())
        self._jumped: float | None = None

    async def doubt(self, database: Database) -> str:
        """Return why the clock is not trusted now; empty when it is."""
        wall, passed = self._clock(), self._passed()
        if abs(wall - self._seen[0] - (passed - self._seen[1])) > JUMP:
            self._jumped = passed
        self._seen = (wall, passed)
        if self._jumped is not None and passed - self._jumped < WAIT:
            return "the clock has jumped within the last hour"
        if wall - await database.read(moments.now_of_database) > JUMP:
            return "the clock is ahead of the database's"
        return ""
