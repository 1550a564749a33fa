"""The guard for gRPC: interceptors for servers of `grpc` and `grpc.aio`.

The credential is the call's metadata `authorization` (and `dpop`). A refusal is `UNAUTHENTICATED`, `PERMISSION_DENIED`,
`INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED` or `UNAVAILABLE`; its challenge is in the trailing metadata `www-authenticate`.
"""

import inspect
import re
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from watchword.extras import needing
from watchword.guard.guard import Guard, Presented
from watchword.guard.misuse import check_guard, check_names
from watchword.guard.policy import OPEN, Policy, Refused, check_policy
from watchword.guard.possession import public_address
from watchword.guard.principal import Principal

with needing("grpcio", "grpc"):
    import grpc
    import grpc.aio

__all__ = ["AsyncGuardInterceptor", "GuardInterceptor", "principal"]

_CALLER: ContextVar[Principal | None] = ContextVar("watchword_principal", default=None)
_METHOD = re.compile(r"/[^/]+/[^/]+")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


def principal() -> Principal:
    """Return the caller of the method that runs now; raise LookupError in a method that is not guarded."""
    caller = _CALLER.get()
    if caller is None:
        raise LookupError("this method is not guarded")
    return caller


class _Rules:
    """Which policy a method has."""

    def __init__(
        self,
        guard: Guard,
        methods: Mapping[str, Policy] | None = None,
        *,
        default: Policy = OPEN,
        exclude: tuple[str, ...] = (),
        origin: str = "",
    ) -> None:
        """`methods` are policies by full name ("/orders.Orders/List"), `default` is that of the others, `exclude` are public.

        `origin` is the scheme and host that clients call, without a slash at the end: DPoP proofs name it.
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
        for field, named in (("methods", self._methods), ("exclude", exclude)):
            _check_methods(field, named)
        if origin and public_address(origin, "origin")[1]:
            raise ValueError(f"origin is a scheme and a host without a path, not {origin!r}")
        self._default = default
        self._exclude = frozenset(exclude)
        self._origin = origin

    def policy(self, method: str) -> Policy | None:
        """Return what a method demands, None when it is public."""
        return None if method in self._exclude else self._methods.get(method, self._default)

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
        )

    def around_in_thread(self, method: str, handler: Any) -> Callable[..., Any]:
        """Return what a handler runs on a thread of its own, guarded."""
        behavior, policy = _behavior(handler), self.policy(method)

        def admit(context: Any) -> None:
            _CALLER.set(None)  # threads are used again, and their context with them
            if policy is None:
                return
            try:
                _CALLER.set(self.guard.authenticate_sync(self.presented(method, context), policy))
            except Refused as refused:
                context.set_trailing_metadata(_trailer(refused))
                context.abort(_CODES[refused.status], refused.description)

        def unary(request: Any, context: Any) -> Any:
            admit(context)
            return behavior(request, context)

        def stream(request: Any, context: Any) -> Iterator[Any]:
            admit(context)
            yield from behavior(request, context)

        return stream if handler.response_streaming else unary


class GuardInterceptor(_Rules, grpc.ServerInterceptor):
    """Guards the methods of a `grpc.server`; in a method the caller is `principal()`."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Return the handler of a method, guarded."""
        handler = continuation(details)
        return None if handler is None else _rebuilt(handler, self.around_in_thread(details.method, handler))


class AsyncGuardInterceptor(_Rules, grpc.aio.ServerInterceptor):
    """Guards the methods of a `grpc.aio.server`, asynchronous or not; in a method the caller is `principal()`."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Return the handler of a method, guarded."""
        handler = await continuation(details)
        if handler is None:
            return None
        # Others run on a thread, with a context of their own: by that of this loop their `abort` would end nothing.
        around = self._around if _is_async(_behavior(handler)) else self.around_in_thread
        return _rebuilt(handler, around(details.method, handler))

    def _around(self, method: str, handler: Any) -> Callable[..., Any]:
        behavior, policy = _behavior(handler), self.policy(method)

        async def admit(context: Any) -> None:
            _CALLER.set(None)
            if policy is None:
                return
            try:
                _CALLER.set(await self.guard.authenticate(self.presented(method, context), policy))
            except Refused as refused:
                await context.abort(_CODES[refused.status], refused.description, _trailer(refused))

        async def unary(request: Any, context: Any) -> Any:
            await admit(context)
            return await behavior(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            await admit(context)
            async for item in behavior(request, context):
                yield item

        async def written(request: Any, context: Any) -> None:
            await admit(context)
            await behavior(request, context)  # it sends by `context.write`

        if not handler.response_streaming:
            return unary
        return stream if inspect.isasyncgenfunction(behavior) else written


def _check_methods(field: str, names: Collection[str]) -> None:
    # A name that is never called would leave its method to `default`, silently.
    check_names(field, names)
    for name in names:
        if not _METHOD.fullmatch(name):
            raise ValueError(f'{field}: full names of methods, such as "/orders.Orders/List", not {name!r}')


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


def _trailer(refused: Refused) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in refused.headers)


def _address(peer: str) -> str | None:
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return urllib.parse.unquote(rest.rpartition(":")[0]).strip("[]") or None
