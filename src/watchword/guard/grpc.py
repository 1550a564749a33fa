"""The guard for gRPC: interceptors for servers of `grpc` and `grpc.aio`.

The credential is the call's metadata `authorization` (and `dpop`). A refusal is `UNAUTHENTICATED`, `PERMISSION_DENIED`,
`INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED` or `UNAVAILABLE`; its challenge is in the trailing metadata `www-authenticate`.

An interceptor is made before the server has methods, and never sees a list of them. With the first call it therefore asks the server
for the handler of every method that it names: a misspelt name would silently leave the method that was meant to the default policy.
`grpc.server` answers with the handler of the call itself, whatever the name, where that method was registered, as generated code does
(grpcio 1.64): then the server's own tables are looked up.
"""

import asyncio
import functools
import inspect
import logging
import re
import sys
import urllib.parse
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple

from watchword.extras import needing
from watchword.guard import transport
from watchword.guard.guard import Guard, Presented
from watchword.guard.misuse import check_guard, check_names
from watchword.guard.policy import OPEN, Policy, Refused, check_policy
from watchword.guard.possession import public_address
from watchword.guard.principal import Principal

with needing("grpcio", "grpc"):
    import grpc
    import grpc.aio

__all__ = ["AsyncGuardInterceptor", "GuardInterceptor", "optional_principal", "principal"]

LOG = logging.getLogger("watchword.guard")
# Empty in a method that is not guarded
_CALLER: ContextVar[tuple[Principal | None, ...]] = ContextVar("watchword_principal", default=())
_METHOD = re.compile(r"/[^/]+/[^/]+")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


def principal() -> Principal:
    """Return the caller of the current method; raise LookupError if there is none, or the method is not guarded."""
    caller = optional_principal()
    if caller is None:
        raise LookupError("this call has no credential, which is optional here: see optional_principal()")
    return caller


def optional_principal() -> Principal | None:
    """Return the caller of the current method, None for a call without a credential; raise LookupError if the method is not guarded."""
    for caller in _CALLER.get():
        return caller
    raise LookupError("this method is not guarded")


class _CallDetails(NamedTuple):
    """What an interceptor is told of a call (`grpc.HandlerCallDetails`)."""

    method: str
    invocation_metadata: Any


class _Rules:
    """Which policy a method has."""

    def __init__(
        self,
        guard: Guard,
        methods: Mapping[str, Policy] | None = None,
        *,
        default: Policy = OPEN,
        exclude: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        origin: str = "",
    ) -> None:
        """`methods` are policies by full name ("/orders.Orders/List"), `default` is that of the others, `exclude` are public.

        `optional` also let in calls without any credential: their `optional_principal()` is None. `origin` is the scheme and host that
        clients call, without a slash at the end: DPoP proofs name it.

        Names that the server does not have are logged with the first call. Where one of them has a policy, those methods of the same
        service that are not named are refused with `INTERNAL`: one of them is the method that was meant. Where the server has nothing of
        the service that it names, so are those of every service that has no policy of its own.
        """
        check_guard(guard)
        if not isinstance(methods or {}, Mapping):
            raise ValueError(
                f'methods: policies by full name, such as {{"/orders.Orders/List": Policy(…)}}, not {methods!r}'
            )
        self.guard = guard
        self._methods = dict(methods or {})
        for method, policy in self._methods.items():
            check_policy(method, policy)
        check_policy("default", default)
        for field, named in (("methods", self._methods), ("exclude", exclude), ("optional", optional)):
            _check_methods(field, named)
        if twice := {*self._methods, *optional} & set(exclude):
            raise ValueError(f"exclude: {', '.join(sorted(twice))} is guarded, and not public")
        if origin and public_address(origin, "origin")[1]:
            raise ValueError(f"origin is a scheme and a host without a path, not {origin!r}")
        self._default = default
        self._exclude = frozenset(exclude)
        self._optional = frozenset(optional)
        self._origin = origin
        self._named = frozenset((*self._methods, *exclude, *optional))
        self._lacking: frozenset[str] | None = None  # of these names, None until the first call

    def policy(self, method: str) -> Policy | None:
        """Return the policy of a method, None when it is public; raise Refused when a misspelt policy may be meant for it."""
        if method in self._exclude:
            return None
        if self._misspelt(method):
            raise Refused(500, "server_error", "It is not certain which policy this method has.", ())
        return self._methods.get(method, self._default)

    def _misspelt(self, method: str) -> frozenset[str]:
        """Return the names with a policy that may be meant for this method.

        These are those that its service lacks and, where no policy is for its service, those of services of which the server has none.
        """
        if not self._lacking or method in self._named:
            return frozenset()
        known, service = {_service_of(one) for one in self._named - self._lacking}, _service_of(method)
        is_named = service in map(_service_of, self._methods)
        return frozenset(
            one
            for one in self._lacking.intersection(self._methods)
            if _service_of(one) == service or not (is_named or _service_of(one) in known)
        )

    def to_ask_for(self, method: str) -> frozenset[str]:
        """Return the names to ask the server for before a call: all before the first, afterwards those still in doubt."""
        return self._named if self._lacking is None else self._misspelt(method)

    def learn(self, asked: frozenset[str], found: Collection[str]) -> None:
        """Learn which names the server has; those that it lacks are logged once."""
        lacking = asked.difference(found)
        if self._lacking is None and lacking:
            LOG.error(
                "the guard names gRPC methods that the server does not have: %s. Methods of their services that are not named, and of "
                "services without any policy, are refused where one of these has a policy, which may be meant for them",
                ", ".join(sorted(lacking)),
            )
        self._lacking = (self._lacking or frozenset()).difference(found) | lacking

    def presented(self, method: str, context: Any) -> Presented:
        """Return what a call presented."""
        given: dict[str, list[str]] = {}
        for name, value in context.invocation_metadata() or ():
            given.setdefault(name, []).append(value if isinstance(value, str) else "")
        return Presented(
            authorization=given.get("authorization", ()),
            dpop=given.get("dpop", ()),
            method="POST",
            uri=self._origin + method,
            path=method,
            address=_address(context.peer()),
            certificate=_certificate(context.auth_context()),
        )

    def around_in_thread(self, method: str, handler: Any) -> Callable[..., Any]:
        """Return the guarded behaviour of a synchronous handler, which gRPC runs on a thread of its pool."""
        behavior, guard, optional = _behavior(handler), self.guard, method in self._optional

        def admit(context: Any) -> None:
            _CALLER.set(())  # pool threads are reused, and with them their context
            if (policy := self.policy(method)) is not None:
                check = guard.authenticate_optional_sync if optional else guard.authenticate_sync
                _CALLER.set((check(self.presented(method, context), policy),))

        def unary(request: Any, context: Any) -> Any:
            try:
                admit(context)
                return behavior(request, context)
            except Refused as refused:
                return _abort(refused, context)

        def stream(request: Any, context: Any) -> Iterator[Any]:
            try:
                admit(context)
                yield from behavior(request, context)
            except Refused as refused:
                _abort(refused, context)

        return stream if handler.response_streaming else unary


class GuardInterceptor(_Rules, grpc.ServerInterceptor):
    """Guards the methods of a `grpc.server`; inside a method, `principal()` returns the caller."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Return the handler of a method, guarded."""
        handler = continuation(details)
        if handler is None:
            return None
        if asked := self.to_ask_for(details.method):
            given = details.invocation_metadata
            find = _tables(sys._getframe(1)) or continuation
            self.learn(asked, [name for name in asked if find(_CallDetails(name, given)) is not None])
        return _rebuilt(handler, self.around_in_thread(details.method, handler))


class AsyncGuardInterceptor(_Rules, grpc.aio.ServerInterceptor):
    """Guards the methods of a `grpc.aio.server`, asynchronous or not; inside a method, `principal()` returns the caller."""

    def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Coroutine[Any, Any, Any]:
        """Return the handler of a method, guarded; raise TypeError in a `grpc.server`, which would end with the first call otherwise."""
        if not _in_event_loop():
            raise TypeError(
                "AsyncGuardInterceptor is for grpc.aio.server: give grpc.server a GuardInterceptor"
            )
        return self._intercept(continuation, details)

    async def _intercept(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        if asked := self.to_ask_for(details.method):
            details_type = type(details)  # `grpc.aio` takes no other
            calls = [(name, details_type(name, details.invocation_metadata)) for name in asked]
            self.learn(asked, [name for name, call in calls if await continuation(call) is not None])
        # A synchronous handler runs on a thread and gets a synchronous context; only its own `abort` ends the call.
        around = self._around if _is_async(_behavior(handler)) else self.around_in_thread
        return _rebuilt(handler, around(details.method, handler))

    def _around(self, method: str, handler: Any) -> Callable[..., Any]:
        behavior, guard, optional = _behavior(handler), self.guard, method in self._optional

        async def admit(context: Any) -> None:
            _CALLER.set(())
            if (policy := self.policy(method)) is not None:
                check = guard.authenticate_optional if optional else guard.authenticate
                _CALLER.set((await check(self.presented(method, context), policy),))

        # Also for a method that sends by `context.write`
        async def unary(request: Any, context: Any) -> Any:
            try:
                await admit(context)
                return await behavior(request, context)
            except Refused as refused:
                await context.abort(_CODES[refused.status], refused.description, _trailer(refused))

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                await admit(context)
                async for item in behavior(request, context):
                    yield item
            except Refused as refused:
                await context.abort(_CODES[refused.status], refused.description, _trailer(refused))

        return stream if inspect.isasyncgenfunction(behavior) else unary


def _service_of(method: str) -> str:
    return method.rpartition("/")[0]


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_methods(field: str, names: Collection[str]) -> None:
    # A name that is never called would leave its method to `default`, silently.
    check_names(field, names)
    for name in names:
        if not _METHOD.fullmatch(name):
            raise ValueError(f'{field}: full names of methods, such as "/orders.Orders/List", not {name!r}')


def _tables(frame: FrameType | None) -> Callable[[Any], Any] | None:
    """Return what finds the handler of any method of the `grpc.server` that a frame handles a call for; None where it keeps no tables."""
    while frame is not None:
        server = frame.f_locals.get("state")
        registered = getattr(server, "registered_method_handlers", None)
        if isinstance(registered, Mapping):
            return functools.partial(_handler, registered, server.generic_handlers)  # type: ignore[union-attr]  # it has both
        frame = frame.f_back
    return None


def _handler(registered: Mapping[str, Any], generic: Collection[Any], details: _CallDetails) -> Any:
    found = (one.service(details) for one in generic)
    return registered.get(details.method) or next((one for one in found if one is not None), None)


def _behavior(handler: Any) -> Callable[..., Any]:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    found: Callable[..., Any] = next(kind for kind in kinds if kind is not None)
    return found


def _is_async(behavior: Callable[..., Any]) -> bool:
    """Whether `grpc.aio` awaits a method, by its own rule."""
    return inspect.iscoroutinefunction(behavior) or inspect.isasyncgenfunction(behavior)


def _rebuilt(handler: Any, behavior: Callable[..., Any]) -> Any:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[handler.request_streaming, handler.response_streaming]
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def _abort(refused: Refused, context: Any) -> None:
    context.set_trailing_metadata(_trailer(refused))
    context.abort(_CODES[refused.status], refused.description)


def _trailer(refused: Refused) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in refused.headers)


def _address(peer: str) -> str | None:
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return urllib.parse.unquote(rest.rpartition(":")[0]).strip("[]") or None


def _certificate(known: Mapping[str, Iterable[bytes]]) -> bytes | None:
    """Return the caller's certificate by what gRPC knows of the connection; only its own TLS knows one."""
    pem = next(iter(known.get("x509_pem_cert", ())), b"")
    return transport.der_certificate(pem.decode("latin-1"))
