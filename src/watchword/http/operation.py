"""Declared operations of the JSON API: method, path, scope, input, answer; and the OpenAPI document generated from them.

Requests are checked against the same declaration that is documented, so that the two cannot differ.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any

import msgspec

from watchword.flows import acting, caller
from watchword.flows.caller import Caller
from watchword.flows.identifiers import LONGEST
from watchword.http.messages import Endpoint, Request, Response, json_response
from watchword.oauth import malformed
from watchword.oauth.errors import OAuthError

BASE = "/api/v1"
SCHEME = "An API token or an access token for this server. `watchword:admin` stands for every scope that an operation names."


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused."""

    error: str
    error_description: str
    field: str | None = None


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of an operation that takes none."""


class Call(msgspec.Struct, frozen=True):
    """A checked call of an operation."""

    request: Request
    caller: Caller
    body: Any = None
    query: Any = None

    def path(self, name: str) -> str:
        """Return a parameter of the path."""
        return self.request.path_params[name]


class Operation(msgspec.Struct, frozen=True):
    """An operation of the JSON API; `scope` None means that any valid token of this server may call it."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[object]]
    summary: str
    scope: str | None
    body: type | None = None
    query: type | None = None
    answer: type | None = None
    status: int = 200


def endpoint(operation: Operation) -> Endpoint:
    """Make the endpoint of an operation: authenticate, check the input, call, answer."""

    async def run(request: Request) -> Response:
        who = await caller.authenticate(
            request.runtime, request.credentials(), request.path, about_itself=operation.scope is None
        )
        if operation.scope is not None and not who.may(operation.scope):
            needs = f"This needs the scope {operation.scope}."
            raise who.refusal("insufficient_scope", needs, scope=operation.scope)
        query = convert(request.query().single(), operation.query or NoQuery, strict=False)
        body = None
        if operation.body is not None:
            # Who sends no body and no type of one states nothing, as `curl -X POST` without `-d` does.
            states = bool(request.body) or b"content-type" in request.headers
            body = convert(request.json() if states else {}, operation.body)
        if operation.scope is not None:
            request = _held(request, who)
        answer = await operation.handler(Call(request, who, body, query))
        if isinstance(answer, Response):
            return answer
        return Response(204) if answer is None else json_response(operation.status, answer)

    return run


def _held(request: Request, who: Caller) -> Request:
    """Return a request whose writes depend on the caller's token: what a revoked one asked for before does not take effect after."""
    held = copy(request)  # the connection may keep the other one for the next request
    held.runtime = acting.runtime_held(request.runtime, who.holder, who.ended())
    return held


def convert(given: object, wanted: type[msgspec.Struct], *, strict: bool = True) -> Any:
    """Check an input against its declared type; raise `invalid_request` naming the field and what it must be."""
    try:
        checked = msgspec.convert(given, wanted, strict=strict)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        wrong = malformed.explain(error, wanted, given)
        raise OAuthError("invalid_request", wrong.description, field=wrong.field) from None
    for field in wanted.__struct_fields__:
        _check_characters(field, getattr(checked, field))
    return checked


def _check_characters(field: str, value: object) -> None:
    # A request has none by now; an argument of a command may be bytes that are not UTF-8, which Python reads as lone surrogates.
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise OAuthError(
            "invalid_request", f"{field} has a character that cannot be stored.", field=field
        ) from None


def _components(kinds: Sequence[type]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=_any_value, ref_template="#/components/schemas/{name}"
    )
    for component in components.values():
        if "description" in component:  # a docstring, whose indented lines Markdown would show as code
            component["description"] = inspect.cleandoc(component["description"])
    return tuple(schemas), components


def _any_value(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "Any JSON value."}
    raise TypeError(f"no JSON Schema is known for {kind}")


def openapi(operations: Sequence[Operation], issuer: str) -> dict[str, object]:
    """Return the OpenAPI 3.1 document of the operations."""
    types = [kind for one in operations for kind in (one.body, one.query, one.answer) if kind is not None]
    _, components = _components([*types, Problem])
    paths: dict[str, dict[str, object]] = {}
    for one in operations:
        paths.setdefault(BASE + one.path, {})[one.method.lower()] = _describe_operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Watchword admin API", "version": "1"},
        "servers": [{"url": issuer}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": SCHEME}},
        },
        "security": [{"token": []}],
    }


def _schema(kind: type) -> dict[str, Any]:
    (schema,), _ = _components([kind])
    return schema


def _describe_operation(one: Operation) -> dict[str, object]:
    success: dict[str, object] = {"description": "Done."}
    if one.answer is not None:
        success["content"] = {"application/json": {"schema": _schema(one.answer)}}
    problem = {"application/json": {"schema": _schema(Problem)}}
    status = str(one.status if one.answer is not None else 204)
    responses: dict[str, object] = {status: success}
    responses |= {
        code: {"description": text, "content": problem}
        for code, text in (
            ("400", "The input is not valid; `field` names what to change."),
            ("401", "No valid access token."),
            ("403", "The access token lacks a scope."),
            ("404", "There is no such object."),
            ("409", "The object's state does not allow this."),
            ("412", "The object was changed meanwhile."),
            ("413", "The body is too large."),
            ("415", "The body is not JSON."),
            ("429", "Too many requests."),
            ("503", "The server cannot store anything right now."),
        )
    }
    described: dict[str, object] = {
        "summary": one.summary,
        "operationId": one.handler.__name__,
        "tags": [one.path.split("/")[1]],
        "responses": responses,
    }
    if one.scope is not None:
        described["description"] = f"Needs the scope `{one.scope}`."
        described["security"] = [{"token": [one.scope]}]
    if one.body is not None:
        described["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(one.body)),
            "content": {"application/json": {"schema": _schema(one.body)}},
        }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
        }
        for name in re.findall(r"\{(\w+)\}", one.path)
    ]
    if one.query is not None:
        parameters += _query_parameters(one.query)
    if parameters:
        described["parameters"] = parameters
    return described


def _query_parameters(kind: type) -> list[dict[str, Any]]:
    (_reference,), components = _components([kind])
    schema = components[kind.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": value}
        for name, value in schema["properties"].items()
    ]
