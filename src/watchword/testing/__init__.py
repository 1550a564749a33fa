"""The testing kit, a pytest plugin: the fixture `auth` is the real server in this process, without a port, with a virtual clock.

Owns the fixtures only, and imports the server when a test first uses `auth`: other test runs pay nothing.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

from watchword.extras import SERVER, needing

if TYPE_CHECKING:
    from watchword.testing.kit import Auth
    from watchword.testing.worker import Worker

__all__ = ["auth", "auth_settings", "auth_worker"]


@pytest.fixture(scope="session")
def auth_worker() -> "Iterator[Worker]":
    """The thread that the server runs in, so that tests with and without an event loop can call it alike."""
    from watchword.testing.worker import Worker

    with Worker() as worker:
        yield worker


@pytest.fixture
def auth_settings() -> Mapping[str, object]:
    """Options of the server under test; override this fixture to change them."""
    return {}


@pytest.fixture
def auth(auth_worker: "Worker", auth_settings: Mapping[str, object]) -> "Iterator[Auth]":
    """The real server with a fresh database, for one test."""
    with needing(SERVER):
        from watchword.testing.kit import open_auth

    with open_auth(auth_worker, auth_settings) as opened:
        yield opened
