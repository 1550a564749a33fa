"""The guard for Flask: a decorator for views, synchronous or not."""

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from watchword.extras import needing
from watchword.guard import resource, wsgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.misuse import check_function, check_no_application
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("flask", "flask"):
    from flask import Flask, Response, current_app, g, request, request_started
    from werkzeug.exceptions import HTTPException

__all__ = ["Guard", "Policy", "Principal"]

View = Callable[..., Any]
V = TypeVar("V", bound=View)


class Guard(BaseGuard):
    """A guard for a Flask application; `watchword.guard.Guard` describes its options."""

    @functools.cached_property
    def _made(self) -> dict[int, View]:
        """The guarded function of each view, by `id(view)`: a bound method takes no attributes to note it on."""
        _guards[next(_count)] = self
        return {}

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[V], V]:
        """Guard a view, below or above `@app.route`, wherever it is registered; the caller is in `flask.g.principal`."""
        return self._decorator(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> Callable[[V], V]:
        """Guard a view as `require` does, and also let in requests without any credential: `flask.g.principal` is then None."""
        return self._decorator(demanded(scopes, policy, "optional"), optional=True)

    def _decorator(self, wanted: Policy, *, optional: bool = False) -> Callable[[V], V]:
        def around(view: View) -> View:
            @functools.wraps(view)
            def guarded(*args: object, **named: object) -> Any:
                if self.metadata is not None and self.metadata.is_asked(
                    request.method, request.root_path + request.path
                ):
                    return _document(self.metadata)
                try:
                    g.principal = wsgi.admit(self, request.environ, wanted, optional)
                except Refused as refused:
                    return _answer(refused)
                return current_app.ensure_sync(view)(*args, **named)

            _around[guarded] = around
            return guarded

        def guard(view: V) -> V:
            check_no_application(view, (Flask,), "guard an empty function under @app.before_request")
            check_function(view, "by `decorators = [guard.require(…)]` the views of")
            guarded = around(view)
            made_of: View | None = view
            # Flask may have registered it already, or what another decorator wrapped
            while made_of is not None:
                self._made[id(made_of)] = guarded  # the id stays valid: a wrapper keeps what it wraps alive
                made_of = getattr(made_of, "__wrapped__", None)
            return cast(V, guarded)  # it takes what the view takes

        return guard

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of a view if it satisfies one more policy; raise HTTPException with the answer that `require` gives."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise HTTPException(response=_answer(refused)) from None

    def publish(self, app: Flask, scopes: Sequence[str] = (), name: str = "") -> None:
        """Serve the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs."""
        metadata = Metadata(self, scopes, name)

        def show() -> Response:
            return _document(metadata)

        # Named by path: another guard may publish another resource here. In endpoint names a dot separates the blueprint.
        endpoint = f"watchword_resource_metadata{metadata.path}".replace(".", "%2E")
        app.add_url_rule(metadata.path, endpoint, show)


_count = itertools.count()
# The guards that are in use, in the order in which each guarded its first view.
_guards: WeakValueDictionary[int, Guard] = WeakValueDictionary()
# The decorator that made a guarded view, so that another view can be guarded in the same way.
_around: WeakKeyDictionary[View, Callable[[View], View]] = WeakKeyDictionary()


def _replace_unguarded(app: Flask, **_: object) -> None:
    """Replace a view that was registered before it was guarded, as by `@guard.require` above `@app.route`, by its guarded one.

    The same for `@blueprint.before_request`, by which a whole blueprint can be guarded.
    """
    endpoint = request.endpoint or ""
    if endpoint in app.view_functions:
        app.view_functions[endpoint] = _guarded(app.view_functions[endpoint])
    for before in app.before_request_funcs.values():
        before[:] = map(_guarded, before)


def _guarded(view: View) -> View:
    """Return the guarded function of a view, or of a view that it wraps; the view itself where nothing guards it.

    An extension may register its own wrapper around a view, and return the bare view to the guard above.
    """
    inner: View | None = view
    while inner is not None:
        outer = _outermost(inner)
        if inner is view and outer is not view:
            return outer
        if outer is not inner:
            return _guarded_like(outer, inner, view)
        if _decorator_of(inner) is not None:
            return view
        inner = getattr(inner, "__wrapped__", None)
    return view


def _outermost(view: View) -> View:
    """Return the outermost of the guards above a view, the view itself where there is none."""
    while True:
        made = (guard._made.get(id(view)) for guard in _guards.values())
        outer = next((guarded for guarded in made if guarded is not None), None)
        if outer is None:
            return view
        view = outer


def _guarded_like(outer: View, inner: View, view: View) -> View:
    """Return a view guarded by all that guards `inner`, from `outer` down."""
    decorators = []
    while outer is not inner:
        decorator = _decorator_of(outer)
        decorators += [] if decorator is None else [decorator]
        outer = outer.__wrapped__  # type: ignore[attr-defined]  # by which it was found
    for decorate in reversed(decorators):
        view = decorate(view)
    return view


def _decorator_of(view: View) -> Callable[[View], View] | None:
    """Return the guard's decorator that made a view, None when no guard did."""
    # Other callables may not be hashable
    return _around.get(view) if isinstance(view, FunctionType) else None


request_started.connect(_replace_unguarded)


def _document(metadata: Metadata) -> Response:
    return Response(metadata.body(), 200, resource.HEADERS, mimetype=resource.CONTENT_TYPE)


def _answer(refused: Refused) -> Any:
    return current_app.response_class(
        json.dumps(refused.document()), refused.status, refused.fields(), mimetype="application/json"
    )
