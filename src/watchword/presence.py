"""`HasLeft`: how any layer, from the HTTP server down to the store, asks whether the client has closed its connection already."""

from collections.abc import Callable

HasLeft = Callable[[], bool]  # asks the system, from any thread: call it only where the answer decides


def unknown() -> bool:
    """Stand in where nobody can tell, as under another HTTP server: the client is taken to be there."""
    return False
