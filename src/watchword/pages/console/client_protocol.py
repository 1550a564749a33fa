"""The console's form for a client's protocol metadata by its own names: keys, lifetimes, profile, responses, logout, exchange.

Each field is a metadata member, checked by `flows.clients.client_metadata` alone; `client_forms` has the common ones, in plain words.
"""

import json
from collections.abc import Mapping

import msgspec

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.http.operation import convert
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.clients import AUTH_METHODS, Client
from watchword.oauth.errors import OAuthError
from watchword.pages import account
from watchword.pages.account import Person
from watchword.pages.console import client_forms, clients, frame

# The fields of each part of the form, and how each is entered.
PARTS: Mapping[str, Mapping[str, str]] = {
    "proof": {
        "grant_types": "lines",
        "token_endpoint_auth_method": "choice",
        "token_endpoint_auth_signing_alg": "text",
        "jwks": "json",
        "jwks_uri": "text",
        "tls_client_auth_subject": "pair",
    },
    "requests": {
        "security_profile": "choice",
        "application_type": "choice",
        "require_pkce": "switch",
        "require_pushed_authorization_requests": "switch",
        "require_signed_request_object": "switch",
        "request_object_signing_alg": "text",
        "authorization_details_types": "lines",
        "default_max_age": "age",
        "require_auth_time": "switch",
        "default_acr_values": "lines",
        "groups": "lines",
        "first_party": "switch",
    },
    "tokens": {
        "access_token_lifetime": "seconds",
        "access_token_status": "switch",
        "dpop_bound_access_tokens": "switch",
        "tls_client_certificate_bound_access_tokens": "switch",
        "token_exchange": "json",
    },
    "answers": {
        "subject_type": "choice",
        "sector_identifier_uri": "text",
        **{
            f"{kind}_{what}": "text"
            for kind in ("id_token", "userinfo", "introspection")
            for what in ("signed_response_alg", "encrypted_response_alg", "encrypted_response_enc")
        },
    },
    "logout": {
        "backchannel_logout_uri": "text",
        "backchannel_logout_session_required": "switch",
        "frontchannel_logout_uri": "text",
        "frontchannel_logout_session_required": "switch",
    },
}
FIELDS: Mapping[str, str] = {name: kind for fields in PARTS.values() for name, kind in fields.items()}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "token_endpoint_auth_method": AUTH_METHODS,
    "security_profile": ("default", "fapi2"),
    "application_type": ("web", "native"),
    "subject_type": ("public", "pairwise"),
}
MAX_JSON = 64 * 1024


async def show(request: Request) -> Response:
    """Show the form."""
    found, client = await clients.find_to_change(request)
    return _page(request, found, client)


def _page(
    request: Request,
    person: Person,
    client: Client,
    form: Form | None = None,
    errors: Mapping[str, object] | None = None,
    status: int = 400,
) -> Response:
    place = frame.address(request, "clients", client.client_id)
    context = {
        "action": f"{place}/protocol",
        "back_url": place,
        "client": {"name": client.name, "id": client.client_id},
        "fields": {
            part: [
                {"name": name, "kind": kind, "choices": CHOICES.get(name)} for name, kind in fields.items()
            ]
            for part, fields in PARTS.items()
        },
        "lifetime": request.runtime.settings.access_token_lifetime,
        "values": _typed(form) if form else kept(client),
        "errors": errors or {},
        "hidden": {"version": (form.get("version") if form else None) or str(client.version)},
    }
    return frame.page(
        request, person, "clients", context, template="client_protocol", status=status if errors else 200
    )


def _typed(form: Form) -> dict[str, object]:
    return {
        name: form.get(name) == "yes" if kind == "switch" else form.get(name) or ""
        for name, kind in FIELDS.items()
    }


def kept(client: Client) -> dict[str, object]:
    """Return what is stored of a client as its fields show it."""
    before = _input(client)
    return {name: _written(kind, before.get(name)) for name, kind in FIELDS.items()} | {
        "grant_types": "\n".join(clients.NAMES.get(grant, grant) for grant in client.grant_types)
    }


def _written(kind: str, value: object) -> object:
    if kind == "switch":
        return bool(value)
    if value is None:
        return ""
    if kind == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return (" " if kind == "pair" else "\n").join(str(one) for one in value)
    return str(value)


def _input(client: Client) -> dict[str, object]:
    given: dict[str, object] = msgspec.to_builtins(client_metadata.to_input(client))
    return given


async def change(request: Request) -> Response:
    """Change a client, unless somebody else did meanwhile."""
    found, client = await clients.find_to_change(request)
    form = account.form_of(request, found)
    said, wrong = _read(form)
    if wrong:
        return _page(request, found, client, form, wrong)
    try:
        given = convert({**_input(client), **said}, ClientInput)
        version = client_forms.version_of(form)
        inside = frame.acting(request, found)
        await client_registry.change(
            inside, client.client_id, given, expected_version=version, actor=found[1].id
        )
    except OAuthError as error:
        problem = clients.refused(error)
        if error.code == "precondition_failed":  # show the present state, to be changed again
            now = (await clients.find(request)).client
            return _page(request, found, now, errors={"form": problem}, status=409)
        field = error.field if error.field in FIELDS else None
        return _page(request, found, client, form, {field or "form": problem})
    return frame.done(request, "client_changed", "clients", client.client_id)


def _read(form: Form) -> tuple[dict[str, object], dict[str, object]]:
    """Return a form's values by field, and the errors of those that cannot be parsed."""
    said: dict[str, object] = {}
    wrong: dict[str, object] = {}
    for name, kind in FIELDS.items():
        try:
            said[name] = _value(kind, (form.get(name) or "").strip())
        except (StrictJSONError, ValueError):
            wrong[name] = "json_unreadable" if kind == "json" else "invalid"
    return said, wrong


def _value(kind: str, text: str) -> object:
    if kind == "switch":
        return text == "yes"
    if kind == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if not text:
        return None
    if kind == "json":
        return loads(text.encode(), max_bytes=MAX_JSON)
    if kind in ("seconds", "age"):
        return int(text) if text.isascii() and len(text) < 16 else text
    return text.split(None, 1) if kind == "pair" else text
