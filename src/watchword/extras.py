"""Parts that the base install does not bring: each says in one sentence what to install.

Owns the wording. An import stays where it is needed, inside `needing(…)`; nothing here is imported on anybody's behalf.
"""

from collections.abc import Iterator
from contextlib import contextmanager

SERVER = "'watchword[server]'"
POSTGRES = "'watchword[postgres]'"


class NotInstalled(ModuleNotFoundError):
    """A module that only some need is not there; the message says what to install."""


@contextmanager
def needing(install: str, *modules: str) -> Iterator[None]:
    """Import inside: where one of these top-level modules is missing (any, if none is named), raise NotInstalled alone."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name in modules if modules else _is_foreign(error)):
            raise
        # Without its name, for which Python 3.15 would suggest another module that happens to be there.
        raise NotInstalled(f"{error.name} is not installed: pip install {install}") from None


def _is_foreign(error: ModuleNotFoundError) -> bool:
    # A module of ours that is missing is a fault, which no installation mends; and what has been said stays said.
    return not str(error.name).startswith("watchword") and not isinstance(error, NotInstalled)
