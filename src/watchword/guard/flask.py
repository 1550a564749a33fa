"""The guard for Flask: a decorator for views, synchronous or not."""

import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from watchword.extras import needing
from watchword.guard import resource, wsgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("flask", "flask"):
    from flask import Flask, Response, current_app, g, request, request_started

__all__ = ["Guard", "Policy", "Principal"]

View = Callable[..., Any]
GUARDED = "_watchword_guarded"


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a Flask application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[View], View]:
        """Guard a view; the caller is `flask.g.principal`. Below `@app.route` or above, a view is guarded wherever it is registered."""
        wanted = demanded(scopes, policy)

        def guard(view: View) -> View:
            @functools.wraps(view)
            def guarded(*args: object, **named: object) -> Any:
                try:
                    g.principal = wsgi.admit(self, request.environ, wanted)
                except Refused as refused:
                    return _answer(refused)
                return current_app.ensure_sync(view)(*args, **named)

            _remember(view, guarded)
            return guarded

        return guard

    def publish(self, app: Flask, scopes: Sequence[str] = (), name: str = "") -> None:
        """Answer the metadata of the resource (RFC 9728), and name it in challenges; `scopes` are what basic use needs."""
        metadata = Metadata(self, scopes, name)

        def show() -> Response:
            return Response(metadata.body(), 200, resource.HEADERS, mimetype=resource.CONTENT_TYPE)

        app.add_url_rule(metadata.path, "watchword_resource_metadata", show)


def _remember(view: View | None, guarded: View) -> None:
    """Note what guards a view at itself, and at what other decorators have made it of: Flask may have either already."""
    while view is not None:
        # Decorators hand on what is noted at a function, so it says of which one it is.
        with contextlib.suppress(AttributeError):
            setattr(view, GUARDED, (view, guarded))
        view = getattr(view, "__wrapped__", None)


def _exchange(app: Flask, **_: object) -> None:
    """Put the guarded view in the place of one that was registered before it was guarded, as by `@guard.require` above `@app.route`."""
    endpoint = request.endpoint or ""
    view = app.view_functions.get(endpoint)
    while (noted := getattr(view, GUARDED, None)) is not None and noted[0] is view:
        view = app.view_functions[endpoint] = noted[1]


request_started.connect(_exchange)


def _answer(refused: Refused) -> Any:
    headers = [*refused.headers, ("Cache-Control", "no-store")]
    return current_app.response_class(
        json.dumps(refused.document()), refused.status, headers, mimetype="application/json"
    )
