"""The guard for Flask: a decorator for views, synchronous or not."""

import functools
import json
from collections.abc import Callable
from typing import Any

from flask import current_app, g, request

from watchword.guard import wsgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

__all__ = ["Guard", "Policy", "Principal"]

View = Callable[..., Any]


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a Flask application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[View], View]:
        """Guard a view; the caller is `flask.g.principal`. Put it below `@app.route`."""
        wanted = demanded(scopes, policy)

        def guard(view: View) -> View:
            @functools.wraps(view)
            def guarded(*args: object, **named: object) -> Any:
                try:
                    g.principal = self.authenticate_sync(wsgi.presented(request.environ), wanted)
                except Refused as refused:
                    return _answer(refused)
                return current_app.ensure_sync(view)(*args, **named)

            return guarded

        return guard


def _answer(refused: Refused) -> Any:
    headers = [*refused.headers, ("Cache-Control", "no-store")]
    return current_app.response_class(
        json.dumps(refused.document()), refused.status, headers, mimetype="application/json"
    )
