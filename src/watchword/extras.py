"""Optional dependencies: importing one that is missing, or of another release, raises an error that says what to install.

Owns the wording. The imports stay where they are needed, inside `needing(…)`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

SERVER = "'watchword[server]'"
POSTGRES = "'watchword[postgres]'"


class NotInstalled(ModuleNotFoundError):
    """An optional module is not installed, or not in this release; the message says what to install."""


@contextmanager
def needing(install: str, *modules: str) -> Iterator[None]:
    """Wrap an import: raise NotInstalled where one of these top-level modules, or without names any module but ours, is missing.

    Also where one of them lacks a name, as an earlier release does.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name in modules if modules else _is_foreign(error)):
            raise
        # Raised without `name`, for which Python 3.15 would suggest another module.
        raise NotInstalled(f"{error.name} is not installed: pip install {install}") from None
    except ImportError as error:
        module = str(error.name).partition(".")[0]
        if module not in modules:
            raise
        raise NotInstalled(f"this release of {module} lacks what is needed: pip install {install}") from error


def _is_foreign(error: ModuleNotFoundError) -> bool:
    # A missing module of ours is a bug, which installing cannot fix; and NotInstalled already says what to install.
    return not str(error.name).startswith("watchword") and not isinstance(error, NotInstalled)
