"""Finding the route of a request by its path below the issuer's, wherever the application is mounted.

In ASGI, `path` is the whole path and `root_path` the part that belongs to a mount. Some servers and frameworks put only the rest
into `path`. So if the path as it is names no route, the path that results from the mount is tried.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from msgspec import structs

from watchword.app.routes import Route, every_route
from watchword.http import Scope
from watchword.telemetry import log

WELL_KNOWN = "/.well-known/"
# Orchestrators and monitors address a single node and do not know the path of the issuer.
PROBES = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
_SLASH = re.compile("%2f", re.IGNORECASE)
Found = tuple[str, dict[str, Route] | None, dict[str, str]]


class Paths:
    """Every route by its path, below `prefix`, the path of the issuer."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self.prefix = urlsplit(issuer).path
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, Route]] = {}
        self._has_warned = False
        for path, method, route in every_route():
            self._add(path, method, structs.replace(route, path=path))

    def _add(self, path: str, method: str, route: Route) -> None:
        if "{" in path:
            self._patterns.setdefault(_pattern(path), {})[method] = route
        else:
            self._exact.setdefault(path, {})[method] = route

    def find(self, scope: Scope) -> Found:
        """Return the path of a request below the issuer's, its routes by method (None: there are none), and the parameters in it."""
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or b""
        is_escaped = b"%2f" in raw.lower()
        if not is_escaped and not scope.get("root_path") and "route_handler" not in scope:
            return self._below(path)
        # Under a mount of Litestar, `path` is only the rest, with a slash.
        if is_escaped or ("route_handler" in scope and raw):
            try:
                # An escaped slash is part of its segment and separates none, as a proxy sees it.
                sent = _SLASH.sub("\0", raw.partition(b"?")[0].decode("ascii"))
                path = unquote(sent, errors="strict")
            except UnicodeDecodeError:
                return "", None, {}
        found, methods, params = self._mounted(scope, path)
        if not is_escaped:
            return found, methods, params
        return (
            found.replace("\0", "%2F"),
            methods,
            {name: one.replace("\0", "/") for name, one in params.items()},
        )

    def _mounted(self, scope: Scope, path: str) -> Found:
        found = self._below(path)
        root: str = scope.get("root_path") or ""
        if found[1] is None and root:
            for whole in _wholes(root, scope.get("app_root_path", root), path):
                other = self._below(whole)
                if other[1] is not None:
                    return other
            self._warn(root)
        return found

    def _below(self, path: str) -> Found:
        if self.prefix:
            path = self._without_prefix(path)
        methods = self._exact.get(path)
        if methods is not None:
            return path, methods, {}
        for pattern, found in self._patterns.items():
            match = pattern.fullmatch(path)
            if match is not None:
                return path, found, match.groupdict()
        return path, None, {}

    def _without_prefix(self, path: str) -> str:
        if path in PROBES:
            return path
        if path.startswith(self.prefix + "/"):
            return path[len(self.prefix) :]
        # RFC 8414 §3.1: the well-known part is inserted before the issuer's path.
        if path.startswith(WELL_KNOWN) and path.endswith(self.prefix):
            return path[: -len(self.prefix)]
        return "" if path != self.prefix else "/"

    def _warn(self, root: str) -> None:
        """Say once that the application is mounted where the issuer says that it is not: everything is then 404."""
        is_below = f"{self.prefix}/".startswith(f"{root}/") or f"{root}/".endswith(WELL_KNOWN)
        if not is_below and not self._has_warned:
            self._has_warned = True
            log.warning(
                "mount.elsewhere",
                mounted_at=root,
                issuer=self._issuer,
                remedy="mount it at the path of its issuer, or make this path the issuer's",
            )


def _wholes(root: str, server: str, path: str) -> Iterator[str]:
    """Yield the whole paths that a path may be the rest of: `root` was taken off by mounts, `server` in front of the server."""
    if server and not path.startswith(f"{server}/"):
        yield server + path
    if root != server and not path.startswith(f"{root}/"):
        yield root + path
    if server and path.startswith(server + WELL_KNOWN):  # the server put it where no proxy had taken it off
        yield path[len(server) :]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
