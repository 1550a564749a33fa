"""The composition root: settings, database, jobs and routes made into one ASGI application, which answers each request by its route."""

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

from watchword import __version__, http, jobs
from watchword.app import refusals
from watchword.app.paths import Paths
from watchword.app.requests import RequestReader
from watchword.app.routes import HOT, Route
from watchword.flows import places, proofs
from watchword.flows.databases import start
from watchword.flows.local import LocalIntrospection
from watchword.flows.runtime import Runtime, Trust
from watchword.flows.upstream import upstream_secret
from watchword.flows.users import accounts
from watchword.http import Headers, Receive, Request, Response, Scope, Send
from watchword.http_server.exchange import BODILESS, Respond, field_lines
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, render
from watchword.pages.branding import branding_of
from watchword.pages.browser import cookie_name
from watchword.pages.visit import SESSION_COOKIE
from watchword.presence import HasLeft, unknown
from watchword.settings import Settings, SettingsError, with_issuer
from watchword.store import faults
from watchword.store.database import StorageUnavailable
from watchword.telemetry import observe, tracing, workers

NOT_OPEN = "the server is not open: run the application with its ASGI lifespan, or `await app.open()` in that of the application that it is part of"
FORKED = (
    "the server was opened before this process was forked: `await app.open()` in each process, after the fork"
)
TWICE = "this server is open already: open it once, by its ASGI lifespan or by `await app.open()`, and close it before it is opened again"


class App:
    """Watchword as an ASGI application; `runtime` is set while it is open."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float] = time.time, *, durable: bool = True
    ) -> None:
        self.settings = settings = with_issuer(settings)
        self.runtime: Runtime | None = None
        self._local: LocalIntrospection | None = None
        self._clock = clock
        self._durable = durable
        self._jobs: list[asyncio.Task[None]] = []
        self._home: asyncio.AbstractEventLoop | None = None  # on which it is open
        self._opening = asyncio.Lock()  # held by `open`, for whoever closes meanwhile
        self._absence = NOT_OPEN
        check_files(settings)
        self._requests = RequestReader(settings)
        self.trust_certificate: Trust | None = None
        self.shared: str | None = None
        self._paths = Paths(settings.issuer)
        self.hot = frozenset((method, self._paths.prefix + path) for method, path in HOT)
        self._extra = (*http.SECURITY, *((http.HSTS,) if settings.secure else ()))
        self.security_lines = field_lines(self._extra)
        self.crowded_out = refusals.crowded_out

    async def open(self) -> Runtime:
        """Open the database and the keys and start the jobs; raise RuntimeError if it is open already, and what `open_runtime` raises."""
        if self._home is not None:
            raise RuntimeError(TWICE)
        self._home, self._opening = asyncio.get_running_loop(), asyncio.Lock()
        self._absence = NOT_OPEN
        _opened.add(self)
        try:
            if self.settings.tracing:
                tracing.start(__version__)
            async with self._opening:
                runtime = await start.open_server(self.settings, self._clock, durable=self._durable)
        except BaseException:
            self._home = None
            _opened.discard(self)
            raise
        self.runtime = runtime
        self._local = LocalIntrospection(runtime)
        runtime.trust_certificate = self.trust_certificate
        runtime.shared = self.shared
        if self.shared is not None:
            self._jobs.append(
                asyncio.create_task(workers.keep_publishing(self.shared), name="publish_counters")
            )
        self._jobs += jobs.start(runtime)
        return runtime

    async def close(self) -> None:
        """Stop the jobs, write what was counted, close the database, once `open` is done: on its event loop, where that still runs."""
        home = self._home
        if home is None or home is asyncio.get_running_loop() or not home.is_running():
            await self._close()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), home))

    async def _close(self) -> None:
        if self._home is asyncio.get_running_loop():
            async with self._opening:
                pass
        stopped, self._jobs = self._jobs, []
        for job in stopped:
            job.cancel()
        if self._home is asyncio.get_running_loop():  # on one that has ended nothing ends any more
            await asyncio.gather(*stopped, return_exceptions=True)
        if self.shared is not None:
            workers.publish(self.shared)
        runtime, self.runtime, self._local = self.runtime, None, None
        if runtime is not None:
            try:
                await start.close_runtime(runtime)
            finally:
                self._home = None
                _opened.discard(self)

    def forget(self) -> None:
        """Be closed in a forked child, and leave alone what the parent has open: threads do not survive a fork, and others are in use."""
        _left.append((self.runtime, self._local, self._jobs, self._home))
        self.runtime = self._local = self._home = None
        self._jobs, self._absence = [], FORKED

    @property
    def issuer(self) -> str:
        """The issuer identifier."""
        return self.settings.issuer

    @property
    def _asked(self) -> LocalIntrospection:
        """What a guard in the same process asks; raises ConnectionError while the server is not open."""
        if self._local is None:
            raise ConnectionError(self._absence)
        return self._local

    async def introspect(
        self, token: str, *, address: str | None, path: str | None, audience: str
    ) -> Mapping[str, object]:
        """Introspect a token for a guard in the same process (RFC 7662); raise ConnectionError when that is not possible now."""
        return await self._asked.introspect(token, address=address, path=path, audience=audience)

    async def session(self, cookies: str) -> Mapping[str, object]:
        """Look up the session in a Cookie header for a guard in the same process; answer and errors are as for `introspect`."""
        return await self._asked.session(cookies, cookie_name(self.settings, SESSION_COOKIE))

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        """Record the use of a DPoP proof for a guard in the same process; return whether it is the first, over all nodes (RFC 9449 §11.1)."""
        return await self._asked.use_proof(identifier, seconds)

    async def report_exposed(self, token: str) -> None:
        """Take a report from a guard in the same process that a token was sent in the clear; errors are as for `introspect`."""
        await self._asked.report_exposed(token)

    async def report_exposed_session(self, cookies: str) -> None:
        """Take a report from a guard in the same process that the session in a Cookie header was sent in the clear."""
        await self._asked.report_exposed_session(cookies, cookie_name(self.settings, SESSION_COOKIE))

    def recall(self, token: str, address: str) -> Mapping[str, object] | None:
        """Return the cached introspection of a token while it is still valid; None when `introspect` has to be called."""
        return self._local.recall(token, address) if self._local is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.open()
        except Exception as error:  # whatever it is, the server must hear of it
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self.close()
            await tracing.flush()
        except Exception as error:
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        path, methods, params = self._paths.find(scope)
        wanted = "GET" if method == "HEAD" and methods and "HEAD" not in methods else method
        route = methods.get(wanted) if methods else None
        begun = time.perf_counter()
        if route is not None and tracing.is_on():
            answer = partial(self._answer, scope, receive, path, params, route)
            response = await tracing.traced(wanted, route.path, dict(scope["headers"]), answer, _outcome)
        elif route is not None:
            response = await self._answer(scope, receive, path, params, route)
        elif methods is None and method in ("GET", "HEAD") and refusals.wants_page(scope):
            response = await self._answer(scope, receive, path, {}, refusals.NOWHERE)
        else:
            response = refusals.no_route(method, methods)
        # A path or method that a caller made up must not become a metric label.
        labels = (route.path, wanted) if route is not None else ("unknown", "any")
        observe(*labels, response.status, time.perf_counter() - begun)
        cors = route.cors if route else any(known.cors for known in (methods or {}).values())
        headers = [*response.headers, *self._extra, *(CORS if cors else ())]
        if response.stream is not None:
            await _send_stream(response, response.stream, headers, method == "HEAD", receive, send)
            return
        if response.status not in BODILESS:  # RFC 9110 §8.6: 0 would be the length of what a cache keeps
            headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})

    def too_large(self, method: str, path: str) -> tuple[int, str]:
        """Return status and error of a body over the limit, for the HTTP server, which reads no body beyond its own."""
        _, methods, _ = self._paths.find({"path": path})
        route = methods.get(method) if methods else None
        return http.TOO_LARGE if route is None else route.too_large

    def prepare(self, scope: Scope, has_left: HasLeft = unknown) -> Respond | None:
        """Return a function that answers hot requests with this head, given their body; None when the head is refused."""
        path, methods, params = self._paths.find(scope)
        route = methods.get(scope["method"]) if methods else None
        if route is None:
            return None
        try:
            request = self._request(scope, path, params)
            request.credentials()
            request.has_left = has_left
        except (OAuthError, StorageUnavailable):
            return None
        return partial(self._respond, route, request)

    async def _respond(self, route: Route, prepared: Request, body: bytes) -> tuple[int, bytes, bytes]:
        begun = time.perf_counter()
        if tracing.is_on():
            answer = partial(self._response, route, prepared, body)
            response = await tracing.traced(prepared.method, route.path, prepared.headers, answer, _outcome)
        else:
            response = await self._response(route, prepared, body)
        observe(route.path, prepared.method, response.status, time.perf_counter() - begun)
        headers: Headers = response.headers
        if nonce := self._nonce(prepared):
            headers = (*headers, *nonce)
        return response.status, _lines(headers, self._extra, route.cors), response.body

    async def _response(self, route: Route, prepared: Request, body: bytes) -> Response:
        request = prepared.with_body(body)
        try:
            if len(body) > http.MAX_BODY:
                raise http.too_large(route.too_large)
            if request.runtime is not self.runtime:
                raise StorageUnavailable(self._absence)
            response = await route.endpoint(request)
            faults.reach("answer.made", request.path)
            return response
        except Exception as error:
            return refusals.refusal(error, request.path)

    async def _answer(
        self, scope: Scope, receive: Receive, path: str, params: dict[str, str], route: Route
    ) -> Response:
        request: Request | None = None
        try:
            request = self._request(scope, path, params)
            request.body = await http.read_body(receive, route.too_large)
            home = browser.homeward(request) if route.page else None
            response = home or await route.endpoint(request)
            faults.reach("answer.made", path)
        except browser.Diverted as diverted:
            response = diverted.response
        except Exception as error:
            # The route's template: a path that a caller made up must not become a label or a log value.
            described, reference = refusals.described(error, route.path)
            if route.page and request is not None:
                return refusals.page(request, described, reference)
            response = http.error_response(described)
        if request is not None and (nonce := self._nonce(request)):
            response.headers = (*response.headers, *nonce)
        return response

    def _nonce(self, request: Request) -> Headers:
        """Return the header with the nonce for the client's next DPoP proof, where it sent one (RFC 9449 §8.2)."""
        if self.settings.dpop_nonce == "off" or b"dpop" not in request.headers or self.runtime is None:
            return ()
        return ((b"dpop-nonce", proofs.nonce(self.runtime).encode()),)

    def _request(self, scope: Scope, path: str, params: dict[str, str]) -> Request:
        if self.runtime is None:
            raise StorageUnavailable(self._absence)
        return self._requests.read(self.runtime, scope, path, params)


CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"WWW-Authenticate, DPoP-Nonce, Retry-After"),
)


@lru_cache(maxsize=256)
def _lines(headers: Headers, extra: Headers, cors: bool) -> bytes:
    return field_lines((*headers, *extra, *(CORS if cors else ())))


async def _send_stream(
    response: Response,
    stream: http.Stream,
    headers: list[tuple[bytes, bytes]],
    head: bool,
    receive: Receive,
    send: Send,
) -> None:
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if head:
            await send({"type": "http.response.body", "body": b""})
        else:
            await http.send_stream(stream, receive, send)
    finally:
        stream.closed()


def _outcome(response: Response) -> tuple[int, str]:
    """Return the status of an answer for its trace, and an error type when it is an outage or a defect."""
    return response.status, str(response.status) if response.status >= 500 else ""


_opened: weakref.WeakSet[App] = weakref.WeakSet()
_left: list[object] = []  # kept, so that no finaliser in a child touches what the parent still uses


def _forget_all() -> None:
    for app in tuple(_opened):
        app.forget()
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def check_files(settings: Settings) -> None:
    """Check at start what would otherwise fail later: operator files that cannot be read or rendered; raise SettingsError."""
    places.check(settings)
    accounts.check(settings)
    upstream_secret.check(settings)
    brand = branding_of(settings)
    if settings.template_directory:
        if not Path(settings.template_directory).is_dir():
            raise SettingsError(f"template_directory: there is no folder {settings.template_directory}")
        try:
            render.check_own_templates(brand)
        except ValueError as error:
            raise SettingsError(f"template_directory: {error}") from None
