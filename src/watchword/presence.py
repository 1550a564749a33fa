"""Whether whoever sent a request still waits for its answer: how this is asked, from the HTTP server down to the store."""

from collections.abc import Callable

HasLeft = Callable[[], bool]  # asks the system, from any thread: call it only where the answer decides


def unknown() -> bool:
    """Stand in where nobody can tell, as under another HTTP server: the client is taken to be there."""
    return False
