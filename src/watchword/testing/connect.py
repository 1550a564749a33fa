"""Pointing an application's guard at the server under test until the test ends, whatever issuer it was made for."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

from watchword.app import App
from watchword.guard import Guard
from watchword.testing.clock import Clock

G = TypeVar("G", bound=Guard)


@contextlib.contextmanager
def connected(guard: G, app: App, clock: Clock) -> Iterator[G]:
    """Point a guard at a server in this process; its former state is restored when the block ends.

    It keeps its own options. An audience that was never named follows the issuer, as it does in production; one that its only issuer
    has for the API (`Trusted(audience=…)`) is what tokens must name.
    """
    before = dict(vars(guard))
    audience = app.issuer if guard.audience == guard.issuer else guard.audience
    fresh = Guard(
        app,
        audience=audience,
        resource_metadata=guard.resource_metadata,
        plain_http=guard.plain_http,
        sessions=guard.sessions,
        replays=guard._own_replays,
        clock=clock,
    )
    fresh.metadata = guard.metadata
    if guard._only is not None and fresh._only is not None and guard._only.audience != guard.audience:
        fresh._only.audience = guard._only.audience
    fresh.possession = guard.possession.at(clock)
    vars(guard).update(vars(fresh))
    try:
        yield guard
    finally:
        # In place, and no more than was changed above, so that routes guarded meanwhile stay guarded.
        for added in vars(fresh).keys() - before.keys():
            delattr(guard, added)
        vars(guard).update(before)
