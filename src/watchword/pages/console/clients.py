"""The console's applications: listed, given secrets, disabled, enabled, deleted; `client_forms` registers and changes them."""

from urllib.parse import urlencode

import msgspec

from watchword.flows.clients import client_metadata, client_registry
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.clients import SECRET_METHODS, SHORT_GRANTS, Client
from watchword.oauth.errors import OAuthError
from watchword.pages import account, account_tokens, browser, consent, once, scopes
from watchword.pages.account import Person
from watchword.pages.account_tokens import OVERLAPS
from watchword.pages.console import frame
from watchword.pages.render import Problem
from watchword.store import clients as store
from watchword.store.client_secrets import ClientSecret
from watchword.store.clients import ClientFacts

NAMES = {uri: name for name, uri in SHORT_GRANTS.items()}


async def show(request: Request) -> Response:
    """List clients."""
    return await answer_list(request, await frame.require(request))


async def answer_list(
    request: Request, person: Person, problem: str | None = None, status: int = 200
) -> Response:
    """Answer the list, with a `problem` where it is shown in place of something else."""
    filters = {"search": frame.filter_of(request, "search")}
    lists, after = request.runtime.lists, frame.after(request, "clients")
    if filters["search"]:
        rows = await lists.read(store.search_clients, after=after, limit=frame.PAGE + 1, **filters)
    else:
        rows = await lists.read(store.newest_clients, after=after, limit=frame.PAGE + 1)
    shown, following = frame.listed(request, "clients", rows, lambda row: row[1], filters)
    context = {
        "action": frame.address(request, "clients"),
        "new_url": frame.address(request, "clients", "new", "web"),
        "clients": [_view(request, facts) for facts, _ in shown],
        "next_url": following,
        "values": filters,
        "errors": {"form": problem} if problem else {},
    }
    return frame.page(request, person, "clients", context, status=status)


def _view(request: Request, facts: ClientFacts) -> dict[str, object]:
    client = facts.client
    return {
        **consent.described(client),
        "id": client.client_id,
        "url": frame.address(request, "clients", client.client_id),
        "kind": _kind_of(client),
        "grants": [NAMES.get(grant, grant) for grant in client.grant_types],
        "last_used_at": facts.last_used_at,
        "disabled_at": client.disabled_at,
    }


def _kind_of(client: Client) -> str:
    if client.is_public:
        return "program"
    return "web" if client.may("authorization_code") else "service"


async def show_one(request: Request) -> Response:
    """Show one client: its metadata, its secrets, and the actions on it."""
    return await answer_one(request, await frame.require(request))


async def answer_one(
    request: Request, person: Person, problem: str | Problem | None = None, status: int = 400
) -> Response:
    """Answer the page of one client, with a `problem` where an action was refused."""
    facts = await find(request)
    client = facts.client
    place, about = frame.address(request, "clients", client.client_id), {"target": client.client_id}
    context = {
        "action": place,
        "client": {**_view(request, facts), **_facts(request, client)},
        "secrets": await _secrets(request, client),
        "may": _may(client),
        "where": _where(request),
        "edit_url": f"{place}/edit",
        "protocol_url": f"{place}/protocol",
        "delete_url": f"{place}/delete",
        "tokens_url": f"{frame.address(request, 'tokens')}?{urlencode({'owner': client.client_id})}",
        "events_url": f"{frame.address(request, 'events')}?{urlencode(about)}",
        "overlaps": list(OVERLAPS),
        "hidden": once.field(),
        "errors": {"form": problem} if problem else {},
    }
    return frame.page(
        request, person, "clients", context, template="client", status=status if problem else 200
    )


async def find(request: Request) -> ClientFacts:
    """Return the client that the path names, as it is stored now; raise `not_found`."""
    client_id = request.path_params["id"]
    known = client_id.isprintable()
    found = await request.runtime.database.read(store.find_client, client_id) if known else None
    if found is None:
        raise OAuthError("not_found", "There is no such client.")
    return found


async def find_to_change(request: Request) -> tuple[Person, Client]:
    """Return the recently authenticated administrator and the client that the path names; otherwise divert to what prevents it."""
    found = await frame.require_fresh(request)
    client = (await find(request)).client
    if client.origin == "document":
        raise browser.Diverted(await answer_one(request, found, "client_document", 409))
    return found, client


def _facts(request: Request, client: Client) -> dict[str, object]:
    addresses = (client.backchannel_logout_uri, client.frontchannel_logout_uri)
    return {
        "method": client.token_endpoint_auth_method,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "logout_uris": [uri for uri in addresses if uri],
        "scopes": list(client.scope),
        "resources": [scopes.resource(request, uri) for uri in client.resources],
        "format": client.access_token_format,
        "lifetime": client.access_token_lifetime or request.runtime.settings.access_token_lifetime,
        "demands": _demands(client),
        "keys_url": client.jwks_uri,
        "created_at": client.created_at,
        "version": client.version,
    }


def _demands(client: Client) -> list[str]:
    """Return the names of the requirements that a client is held to, for its page."""
    found = {
        "pkce": client.require_pkce and client.may("authorization_code"),
        "par": client.require_pushed_authorization_requests,
        "signed_requests": client.require_signed_request_object,
        "dpop": client.dpop_bound_access_tokens,
        "mtls": client.tls_client_certificate_bound_access_tokens,
        "status": client.access_token_status,
        "fapi2": client.security_profile == "fapi2",
        "pairwise": client.subject_type == "pairwise",
        "exchange": client.token_exchange is not None,
    }
    return [name for name, applies in found.items() if applies]


async def _secrets(request: Request, client: Client) -> list[dict[str, object]]:
    now = request.runtime.now()
    kept: list[ClientSecret] = await client_registry.secrets_of(request.runtime, client.client_id)
    return [
        {**msgspec.structs.asdict(one), "ended": one.expires_at is not None and one.expires_at <= now}
        for one in kept
    ]


def _may(client: Client) -> list[str]:
    """Return the actions that are possible on a client: one described by a metadata document is changed only there."""
    return [
        *(["add_secret"] if client.token_endpoint_auth_method in SECRET_METHODS else []),
        *(["edit"] if client.origin != "document" else []),
        "switch_on" if client.disabled_at is not None else "switch_off",
        "delete",
    ]


def _where(request: Request) -> dict[str, str]:
    """Return the addresses of this server that an application has to be configured with."""
    issuer = request.runtime.settings.issuer
    return {"issuer": issuer, "discovery": f"{issuer}/.well-known/openid-configuration"}


async def change(request: Request) -> Response:
    """Give a client a secret or end one, or disable or enable it."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    client, what = (await find(request)).client, form.get("do")
    if what == "add_secret":
        return await _add_secret(request, found, client, form)
    if what == "end_secret":
        return await _end_secret(request, found, client, form)
    if what in ("switch_off", "switch_on"):
        return await _switch(request, found, client, off=what == "switch_off")
    raise OAuthError("invalid_request", "There is no such change.", field="do")


async def _add_secret(request: Request, person: Person, client: Client, form: Form) -> Response:
    runtime = once.runtime_for(frame.acting(request, person), person[0], form, client.client_id)
    overlap = account_tokens.overlap_of(form)
    try:
        secret, _ = await client_registry.add_secret(
            runtime, client.client_id, overlap=overlap, actor=person[1].id
        )
    except once.SentBefore:
        return frame.done(request, "client_once", "clients", client.client_id)
    return answer_secret(
        request, person, client, secret, "added", runtime.now() + overlap if overlap else None
    )


def answer_secret(
    request: Request, person: Person, client: Client, secret: str, made: str, old_until: int | None
) -> Response:
    """Answer the page that shows a secret this once; `made` is "created" with its client, or "added" to it."""
    context = {
        "made": made,
        "client": {"name": client.name, "id": client.client_id, "kind": _kind_of(client)},
        "secret": secret,
        "where": _where(request),
        "old_until": old_until,
        "here": browser.here(request, f"{frame.path('clients', client.client_id)}?notice=client_once"),
        "done_url": frame.address(request, "clients", client.client_id),
    }
    return frame.page(request, person, "clients", context, template="client_secret")


async def _end_secret(request: Request, person: Person, client: Client, form: Form) -> Response:
    try:
        await client_registry.remove_secret(
            frame.acting(request, person), client.client_id, form.require("secret"), actor=person[1].id
        )
    except OAuthError as error:
        if error.code != "not_found":
            raise
        return await answer_one(request, person, frame.refused(error), 404)
    return frame.done(request, "client_secret_ended", "clients", client.client_id)


async def _switch(request: Request, person: Person, client: Client, *, off: bool) -> Response:
    try:
        await client_registry.change(
            frame.acting(request, person),
            client.client_id,
            client_metadata.to_input(client),
            expected_version=client.version,
            disabled=off,
            actor=person[1].id,
        )
    except OAuthError as error:
        return await answer_one(request, person, refused(error), error.rule.status)
    return frame.done(request, "client_off" if off else "client_on", "clients", client.client_id)


def refused(error: OAuthError) -> str | Problem:
    """Return why a client was not registered or changed; raise what a form cannot mend."""
    if error.code == "precondition_failed":
        return "client_meanwhile"
    if error.rule.status != 400 or error.code == "access_denied":
        raise error
    return frame.refused(error)


async def show_delete(request: Request) -> Response:
    """Say what ends with a client and ask for its name."""
    return await _delete(request, await frame.require_fresh(request))


async def _delete(request: Request, person: Person, problem: str | None = None) -> Response:
    facts = await find(request)
    place = frame.address(request, "clients", facts.client.client_id)
    context = {
        "action": f"{place}/delete",
        "back_url": place,
        "client": _view(request, facts),
        "errors": {"name": problem} if problem else {},
    }
    return frame.page(
        request, person, "clients", context, template="client_delete", status=400 if problem else 200
    )


async def delete(request: Request) -> Response:
    """Delete a client when its name was typed."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    client, typed = (await find(request)).client, (form.get("name") or "").split()
    if typed not in (client.name.split(), [client.client_id]):
        return await _delete(request, found, "client_name_wrong")
    await client_registry.delete(frame.acting(request, found), client.client_id, actor=found[1].id)
    return frame.done(request, "client_deleted", "clients")
