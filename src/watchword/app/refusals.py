"""Refusals: one description of every error for callers and for the log, and the answer for an unknown path or method."""

import secrets

from watchword import exhaustion, http
from watchword.app.routes import Route
from watchword.http import Request, Response, Scope
from watchword.oauth.errors import OAuthError
from watchword.pages import errors
from watchword.store.database import StorageUnavailable
from watchword.telemetry import count, log


def refusal(error: Exception, path: str) -> Response:
    """Answer an error to a program."""
    return http.error_response(described(error, path)[0])


def described(error: Exception, path: str) -> tuple[OAuthError, str]:
    """Log an error; return what the caller is told, and the reference by which support finds it in the log."""
    if isinstance(error, OAuthError):
        count("refusals", path, error.code)
        if error.detail:
            log.info("request.refused", path=path, error=error.code, detail=error.detail)
        return error, error.code
    if isinstance(error, StorageUnavailable):
        count("storage_unavailable")
        log.error("storage.unavailable", path=path, reason=error.reason)
        return http.UNAVAILABLE, http.UNAVAILABLE.code
    if exhaustion.is_shortage(error):
        count("memory_exhausted")
        exhaustion.step_down()
        return http.EXHAUSTED, http.EXHAUSTED.code
    if exhaustion.lacks_descriptor(error):
        count("descriptors_exhausted")
        log.error("descriptors.exhausted", path=path)
        return http.CROWDED, http.CROWDED.code
    # No detail of any other error may reach the caller (LGX-3).
    reference = secrets.token_hex(6)
    count("failures", path)
    log.error("request.failed", path=path, reference=reference, error=type(error).__name__, at=_place(error))
    failure = f"The server failed to answer this request; reference {reference}."
    return OAuthError("server_error", failure), reference


def crowded_out() -> None:
    """Count a request that the HTTP server refused for lack of room; it tells the log itself, of many at once."""
    count("requests_crowded_out")


def page(request: Request, error: OAuthError, reference: str) -> Response:
    """Answer an error to a person with a page, or as to a program where there is no memory, or no file descriptor, for a page."""
    try:
        return errors.page(request, error, reference)
    except Exception as failure:
        if not (exhaustion.is_shortage(failure) or exhaustion.lacks_descriptor(failure)):
            raise
        return refusal(failure, request.path)


def wants_page(scope: Scope) -> bool:
    """Whether a person's browser asks: unlike programs, it accepts HTML."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


async def _nowhere(_request: Request) -> Response:
    raise OAuthError("not_found", "There is nothing at this address.")


NOWHERE = Route(_nowhere, page=True)


def no_route(method: str, methods: dict[str, Route] | None) -> Response:
    """Answer an unknown path (`methods` is None), or a method that the path does not have, OPTIONS included."""
    if methods is None:
        return http.error_response(OAuthError("not_found", "There is nothing at this address."))
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"})).encode()
    if method == "OPTIONS":
        extra: tuple[tuple[bytes, bytes], ...] = ((b"allow", allow),)
        if any(route.cors for route in methods.values()):
            extra += (
                (b"access-control-allow-methods", allow),
                # MCP clients send their protocol version with every request, discovery included.
                (b"access-control-allow-headers", b"Authorization, Content-Type, DPoP, MCP-Protocol-Version"),
                (b"access-control-max-age", b"7200"),
            )
        return Response(204, b"", extra)
    return http.error_response(
        OAuthError("method_not_allowed", "This address does not answer this method."), ((b"allow", allow),)
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
