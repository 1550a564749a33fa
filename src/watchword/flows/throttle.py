"""Throttling of attempts: buckets in the database, so that they hold over all processes; they slow and never lock out for ever."""

from watchword.flows.runtime import Runtime
from watchword.store import limits


class Throttled(Exception):
    """Too many attempts; `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__("throttled")
        self.wait = wait


async def throttle(runtime: Runtime, name: str, capacity: float, per_second: float) -> None:
    """Take one attempt from a bucket; raise Throttled with the seconds to wait when it is empty."""
    wait = await runtime.database.write(
        limits.take, name, capacity=capacity, per_second=per_second, now=runtime.clock()
    )
    if wait:
        raise Throttled(max(1, int(wait)))
