"""Optional dependencies: an import of one that is missing says in one sentence what to install.

Owns the wording. The imports stay where they are needed, inside `needing(…)`; this module imports none of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

SERVER = "'watchword[server]'"
POSTGRES = "'watchword[postgres]'"


class NotInstalled(ModuleNotFoundError):
    """An optional module is not installed; the message says what to install."""


@contextmanager
def needing(install: str, *modules: str) -> Iterator[None]:
    """Wrap an import: raise NotInstalled where one of these top-level modules, or without names any module but ours, is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name in modules if modules else _is_foreign(error)):
            raise
        # Raised without `name`, for which Python 3.15 would suggest another module.
        raise NotInstalled(f"{error.name} is not installed: pip install {install}") from None


def _is_foreign(error: ModuleNotFoundError) -> bool:
    # A missing module of ours is a bug that no installation mends; and NotInstalled says what to install already.
    return not str(error.name).startswith("watchword") and not isinstance(error, NotInstalled)
