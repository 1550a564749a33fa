"""The console's forms for applications: one to register a client by its kind, one to change its most common metadata.

The rules are in `flows.clients.client_metadata`; this module only translates between forms and metadata.
"""

from collections.abc import Mapping

import msgspec

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.http.operation import convert
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.pages import account, consent, once, scopes
from watchword.pages.account import Person
from watchword.pages.console import clients, frame

# The metadata of a new client by its kind.
KINDS: Mapping[str, Mapping[str, object]] = {
    "web": {
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_basic",
    },
    "program": {
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    },
    "service": {
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
    },
}
FOR_PEOPLE = "openid profile email"
MAX_NAME = 200
TEXTS = (
    "name",
    "scope",
    "redirect_uris",
    "post_logout_redirect_uris",
    "application_type",
    "access_token_format",
)
Errors = Mapping[str, object]


async def show_new(request: Request) -> Response:
    """Show the form for one kind of client."""
    return _new(request, await frame.require_fresh(request))


def _new(
    request: Request, person: Person, form: Form | None = None, errors: Errors | None = None
) -> Response:
    kind = _kind(request)
    values = {"scope": "" if kind == "service" else FOR_PEOPLE}
    context = {
        "action": frame.address(request, "clients", "new", kind),
        "kind": kind,
        "kinds": [{"kind": one, "url": frame.address(request, "clients", "new", one)} for one in KINDS],
        "resources": _offered(request, form),
        "values": _typed(form) if form else values,
        "errors": errors or {},
        "hidden": once.field(),
    }
    return frame.page(
        request, person, "clients", context, template="client_new", status=400 if errors else 200
    )


def _kind(request: Request) -> str:
    kind = request.path_params["kind"]
    if kind not in KINDS:
        raise OAuthError("not_found", "There is nothing at this address.")
    return kind


def _typed(form: Form) -> dict[str, str]:
    return {name: form.get(name) or "" for name in TEXTS}


def _resources(request: Request, client: Client | None) -> list[str]:
    """Return the resources that a client may be registered for: its own, in their order, then those of the settings."""
    settings = request.runtime.settings
    named = (settings.resource, *settings.resources) if settings.resources else ()
    return list(dict.fromkeys((*(client.resources if client else ()), *named)))


def _offered(request: Request, form: Form | None, client: Client | None = None) -> list[dict[str, object]]:
    chosen = form.all("resource") if form else client.resources if client else ()
    return [{**scopes.resource(request, uri), "chosen": uri in chosen} for uri in _resources(request, client)]


async def create(request: Request) -> Response:
    """Register a client; its secret is shown this once."""
    found = await frame.require_fresh(request)
    form, kind, (session, user) = _form(request, found), _kind(request), found
    wrong = _wrong(request, form, redirects=kind != "service")
    if wrong:
        return _new(request, found, form, wrong)
    runtime = once.runtime_for(frame.acting(request, found), session, form)
    try:
        given = _given(form, KINDS[kind], _resources(request, None))
        registered = await client_registry.register(runtime, given, actor=user.id)
    except once.SentBefore:
        return frame.done(request, "client_once", "clients")
    except OAuthError as error:
        return _new(request, found, form, {_field(error): clients.refused(error)})
    client, secret = registered.client, registered.client_secret
    if secret is None:
        return frame.done(request, "client_created", "clients", client.client_id)
    return clients.answer_secret(request, found, client, secret, "created", None)


def _form(request: Request, person: Person) -> Form:
    return account.form_of(request, person, repeatable=frozenset({"resource"}))


def _wrong(
    request: Request, form: Form, client: Client | None = None, *, redirects: bool
) -> dict[str, object]:
    """Return the errors of a form, by field, that can be told without the rules of `client_metadata`."""
    name = (form.get("name") or "").strip()
    wrong: dict[str, object] = {}
    if not 0 < len(name) <= MAX_NAME:
        wrong["name"] = "too_long" if name else "required"
    if redirects and not _lines(form, "redirect_uris"):
        wrong["redirect_uris"] = "required"
    if not set(form.all("resource")) <= set(_resources(request, client)):
        wrong["resource"] = "invalid"
    return wrong


def _lines(form: Form, name: str) -> list[str]:
    return [line.strip() for line in (form.get(name) or "").splitlines() if line.strip()]


def _given(form: Form, before: Mapping[str, object], resources: list[str]) -> ClientInput:
    """Return the client that a form describes; members that it does not show stay as `before`. Raise `invalid_request`."""
    said = {
        **{name: (form.get(name) or "").strip() for name in TEXTS if form.has(name)},
        **{name: _lines(form, name) for name in TEXTS if form.has(name) and name.endswith("_uris")},
    }
    if "scope" in said:
        said["scope"] = " ".join((form.get("scope") or "").split())
    if resources:
        said["resources"] = [uri for uri in resources if uri in form.all("resource")]
    given: ClientInput = convert({**before, **said}, ClientInput)
    return given


def _field(error: OAuthError) -> str:
    return error.field if error.field in TEXTS else "form"


async def show_edit(request: Request) -> Response:
    """Show the form by which a client is changed."""
    found, client = await clients.find_to_change(request)
    return _edit(request, found, client)


def _edit(
    request: Request,
    person: Person,
    client: Client,
    form: Form | None = None,
    errors: Errors | None = None,
    status: int = 400,
) -> Response:
    kept = {
        "name": client.name,
        "scope": " ".join(client.scope),
        "redirect_uris": "\n".join(client.redirect_uris),
        "post_logout_redirect_uris": "\n".join(client.post_logout_redirect_uris),
        "access_token_format": client.access_token_format,
    }
    place = frame.address(request, "clients", client.client_id)
    context = {
        "action": f"{place}/edit",
        "back_url": place,
        "protocol_url": f"{place}/protocol",
        "client": {"name": client.name, "id": client.client_id, "origin": consent.ORIGINS[client.origin]},
        "redirects": client.may("authorization_code"),
        "resources": _offered(request, form, client),
        "values": _typed(form) if form else kept,
        "errors": errors or {},
        "hidden": {"version": (form.get("version") if form else None) or str(client.version)},
    }
    return frame.page(
        request, person, "clients", context, template="client_edit", status=status if errors else 200
    )


async def edit(request: Request) -> Response:
    """Change a client, unless somebody else did meanwhile."""
    found, client = await clients.find_to_change(request)
    form = _form(request, found)
    wrong = _wrong(request, form, client, redirects=client.may("authorization_code"))
    if wrong:
        return _edit(request, found, client, form, wrong)
    try:
        before = msgspec.to_builtins(client_metadata.to_input(client))
        given = _given(form, before, _resources(request, client))
        await client_registry.change(
            frame.acting(request, found),
            client.client_id,
            given,
            expected_version=version_of(form),
            actor=found[1].id,
        )
    except OAuthError as error:
        problem = clients.refused(error)
        if error.code == "precondition_failed":  # show the present state, to be changed again
            now = (await clients.find(request)).client
            return _edit(request, found, now, errors={"form": problem}, status=409)
        return _edit(request, found, client, form, {_field(error): problem})
    return frame.done(request, "client_changed", "clients", client.client_id)


def version_of(form: Form) -> int:
    """Return the version of the client that a form was made for; raise `invalid_request`."""
    sent = form.require("version")
    if not (sent.isascii() and sent.isdigit() and len(sent) < 16):
        raise OAuthError("invalid_request", "The version is not a number.", field="version")
    return int(sent)
