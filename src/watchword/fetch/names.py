"""Looking up host names, each on a thread of its own: a name whose DNS servers do not answer delays only those who ask for it."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from watchword.fetch.errors import FetchError

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


class Names:
    """A resolver with threads of its own: one for each name being looked up, shared by all that ask for it.

    A name whose DNS servers do not answer blocks its thread for half a minute, and delays only those who ask for that name. (The event
    loop itself looks up two names at a time.) More than `at_once` names at a time are refused.
    """

    def __init__(self, at_once: int = 32) -> None:
        self._at_once = at_once
        self.begin()

    def begin(self) -> None:
        """Start with threads of this process: none survives a fork, and their pool would not notice."""
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="watchword-names")
        self._under_way: dict[str, Future[list[str] | None]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return every address of a name; raise OSError, and FetchError when too many are being looked up."""
        looked_up = self._under_way.get(host)
        if looked_up is None:
            if len(self._under_way) >= self._at_once:
                raise FetchError("too many names to look up")
            looked_up = self._under_way[host] = self._threads.submit(_look_up, host)
            looked_up.add_done_callback(lambda _: self._under_way.pop(host, None))
        found = await asyncio.shield(asyncio.wrap_future(looked_up))  # others wait for it as well
        if found is None:
            raise OSError("no such name")
        return found


def _look_up(host: str) -> list[str] | None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # returned, not raised: nobody may be left to retrieve the exception
        return None
    return [str(one[4][0]) for one in found]


# The resolver for hosts that the server itself or its operator named.
resolve = Names()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=resolve.begin)
