"""Mistakes that an application can make when it builds a guard: refused with ValueError (or TypeError) when the program starts.

A mistake must neither switch a protection off nor stay unnoticed until the first request. Owns the rules for single values;
combinations are checked where they are used.
"""

import functools
import inspect
import math
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from watchword.networks import is_loopback

_NO_SCOPE = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")  # RFC 6749 §3.3
_NO_ADDRESS = re.compile(r"[^\x21-\x7e]|[\\\"<>]")
_PORTS = {"https": 443, "http": 80}  # which browsers leave out
_USER = re.compile(r"//[^/?#]*@")
# What such a function returns is always truthy.
_ANSWERS_LATER = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_names(field: str, given: object) -> None:
    """Refuse all but a collection of names: a plain string would be taken for its characters."""
    names = tuple(given) if isinstance(given, Collection) and not isinstance(given, str) else ("",)
    if not all(isinstance(one, str) and one and " " not in one for one in names):
        raise ValueError(f'{field}: name each by itself, such as {field}=("one", "two"), not {given!r}')


def check_scopes(field: str, given: Collection[str]) -> None:
    """Refuse names that no scope can have: no token would hold them."""
    check_names(field, given)
    for scope in given:
        if _NO_SCOPE.search(scope):
            raise ValueError(
                f"{field}: a scope is printable ASCII without spaces, quotes and backslashes, not {scope!r}"
            )


def check_exclude(given: Collection[str]) -> None:
    """Refuse what is no collection of paths."""
    check_names("exclude", given)
    for path in given:
        if not path.startswith("/"):
            raise ValueError(f"exclude: name whole paths, such as exclude=('/healthz',), not {path!r}")


def check_origins(field: str, given: Collection[str]) -> None:
    """Refuse what is no origin as browsers send it: it would never match, or match every sandboxed page ("null")."""
    check_names(field, given)
    for origin in given:
        if not _is_origin(origin):
            raise ValueError(
                f"{field}: as browsers write them, such as https://shop.example.com, not {shown(origin)}"
            )


def check_flag(field: str, given: object) -> None:
    """Refuse all but True and False: a string such as "false" would be truthy."""
    if not isinstance(given, bool):
        raise ValueError(f"{field} is True or False, not {given!r}")


def check_guarded(app: object, guard: object) -> None:
    """Refuse what is no application, and what is no guard: every request would fail."""
    check_application(app)
    check_guard(guard)


def check_application(given: object) -> None:
    """Refuse what cannot be called."""
    if not callable(given) or inspect.isclass(given):
        raise ValueError(
            f"app: the application itself comes first (of an MCP server what its streamable_http_app() or http_app() made), not {given!r}"
        )


def check_guard(given: object) -> None:
    """Refuse what is no guard."""
    if not callable(getattr(given, "authenticate", None)) or inspect.isclass(given):
        raise ValueError(f'guard: a Guard, such as Guard("https://auth.example.com"), not {given!r}')


def check_view(view: object) -> None:
    """Raise TypeError for what is no view: some registering decorators return None, and the view they registered stays unguarded."""
    if not callable(view):
        raise TypeError(f"put @guard.require below what registers the view: above, it was given {view!r}")


def check_no_application(view: object, kinds: tuple[type, ...], instead: str) -> None:
    """Raise TypeError for an application, which can be called as well: what is registered in it would stay unguarded."""
    if isinstance(view, kinds):
        raise TypeError(f"{type(view).__name__} is a whole application: {instead}")


def check_function(view: object, instead: str) -> None:
    """Raise TypeError for a class as well: the framework does not call the class; `instead` says what to guard."""
    check_view(view)
    if inspect.isclass(view):
        raise TypeError(f"guard {instead} {view.__name__}, not the class")


def check_choice(field: str, given: object, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if given not in known:
        raise ValueError(f"{field}: one of {', '.join(known)}, not {given!r}")


def check_seconds(field: str, given: object, *, least: float = 0) -> None:
    """Refuse what is no number of seconds."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given < math.inf:
        raise ValueError(f"{field} is a number of seconds, at least {least:g}, not {given!r}")


def check_audience(given: object) -> None:
    """Refuse what is not one name."""
    if given == "":
        raise ValueError("audience is empty: name the API, or leave it out where it has the issuer's name")
    if given is not None and not isinstance(given, str):
        raise ValueError(f"audience: the one name of the API, as a string, not {given!r}")
    if isinstance(given, str) and given != given.strip():
        raise ValueError(f"audience: without the spaces or line end around {given!r}, which no token names")


def check_predicate(given: object) -> None:
    """Refuse what cannot be called, and a class or an asynchronous function: what these return is truthy."""
    if given is None:
        return
    called = given
    while isinstance(called, functools.partial):
        called = called.func
    ways = (called, type(called).__call__) if callable(called) else ()
    if not ways or inspect.isclass(called) or any(later(way) for later in _ANSWERS_LATER for way in ways):
        raise ValueError(
            f"predicate: a synchronous function that takes the Principal and returns True or False, not {given!r}"
        )


def check_address(field: str, given: object) -> None:
    """Refuse all but an https address, or http on loopback."""
    parts = split_address(given)
    if parts is None or not (parts.scheme == "https" or _is_plain_loopback(parts)):
        raise ValueError(f"{field} must be an https address (http only on loopback), not {shown(given)}")


def check_issuer(given: object) -> None:
    """Refuse what cannot be an issuer identifier (RFC 8414 §2)."""
    check_address("the issuer", given)
    if isinstance(given, str) and "/.well-known/" in given:
        raise ValueError(
            f"the issuer is the identifier in its metadata, not the address of the metadata: not {shown(given)}"
        )
    if isinstance(given, str) and ("?" in given or "#" in given or "@" in urlsplit(given).netloc):
        raise ValueError("the issuer must have no query, fragment or user information")


def shown(address: object) -> str:
    """Return an address as an error message may show it: without user information, which may hold a password."""
    return _USER.sub("//…@", repr(address))


def split_address(given: object) -> SplitResult | None:
    """Return the parts of an address that has a host and no impossible port; None for anything else."""
    if not isinstance(given, str) or _NO_ADDRESS.search(given):
        return None
    try:
        parts = urlsplit(given)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _is_origin(text: str) -> bool:
    parts = split_address(text)
    if parts is None or "@" in text or (parts.port is not None and parts.port == _PORTS.get(parts.scheme)):
        return False
    return text == f"{parts.scheme}://{parts.netloc}".lower()  # RFC 6454 §6.2


def _is_plain_loopback(parts: SplitResult) -> bool:
    return parts.scheme == "http" and is_loopback(parts.hostname or "")
