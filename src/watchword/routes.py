"""The table `ROUTES`, every path of the server: which endpoint answers which method, and whether scripts of other origins may call it."""

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module

import msgspec

from watchword import http, operation
from watchword.endpoints import (
    admin_clients,
    admin_keys,
    admin_leaks,
    admin_tokens,
    admin_trust,
    admin_users,
    device_authorization,
    discovery,
    exposure,
    health,
    introspection,
    metrics,
    par,
    registration,
    revocation,
    revocations,
    status_lists,
    token,
    upstream_logout,
    userinfo,
    zero,
)
from watchword.http import Endpoint, Request, Response
from watchword.oauth.errors import OAuthError
from watchword.operation import Operation
from watchword.pages import (
    account,
    account_access,
    account_security,
    account_tokens,
    authorize,
    browser,
    dev_mail,
    device,
    identities,
    passwords,
    recover,
    second_factor,
    select_account,
    setup,
    sign_in,
    sign_out,
    sign_up,
    step_up,
    upstream,
    upstream_form,
)

OPERATIONS: tuple[Operation, ...] = (
    *admin_tokens.OPERATIONS,
    *admin_leaks.OPERATIONS,
    *admin_clients.OPERATIONS,
    *admin_keys.OPERATIONS,
    *admin_trust.OPERATIONS,
    *admin_users.OPERATIONS,
)


class Route(msgspec.Struct, frozen=True):
    """How one method of one path is answered; `cors` opens it to scripts of any origin, without credentials; a `page` is refused with
    pages; `path` is the template, set when the route is registered."""

    endpoint: Endpoint
    cors: bool = False
    page: bool = False
    path: str = ""


async def openapi(request: Request) -> Response:
    """Answer the OpenAPI document of the admin API."""
    return http.json_response(200, _openapi(request.runtime.settings.issuer))


@lru_cache(maxsize=1)
def _openapi(issuer: str) -> dict[str, object]:
    """Return the OpenAPI document, made once: anyone may ask for it, and making it keeps the event loop for a tenth of a second."""
    return operation.openapi(OPERATIONS, issuer)


def _console(module: str, name: str) -> Endpoint:
    """Return an endpoint of the console, imported with its first request: a server that only issues tokens never needs it."""

    async def answer(request: Request) -> Response:
        endpoint: Endpoint = getattr(import_module(f"watchword.pages.{module}"), name)
        try:
            return await endpoint(request)
        except OAuthError as error:
            if error.code != "not_found":
                raise
            gone = import_module("watchword.pages.console_gone")
            answered: Response = await gone.answer(request, error)
            return answered

    return answer


def _pages(module: str, show: str, change: str = "") -> dict[str, Route]:
    """Return the routes of one console page, and of the form on it where there is one."""
    named = {"GET": show, "POST": change}
    return {method: Route(_console(module, name), page=True) for method, name in named.items() if name}


ROUTES: dict[str, dict[str, Route]] = {
    "/token": {"POST": Route(token.token, cors=True)},
    "/par": {"POST": Route(par.push, cors=True)},
    "/register": {"POST": Route(registration.register, cors=True)},
    "/register/{client_id}": {
        "GET": Route(registration.show, cors=True),
        "PUT": Route(registration.replace, cors=True),
        "DELETE": Route(registration.delete, cors=True),
    },
    "/authorize": {
        "GET": Route(authorize.authorize, page=True),
        "POST": Route(authorize.authorize, page=True),
    },
    "/authorize/resume": {"GET": Route(authorize.resume, page=True)},
    "/authorize/consent": {"POST": Route(authorize.consent, page=True)},
    "/device_authorization": {"POST": Route(device_authorization.begin, cors=True)},
    "/device": {"GET": Route(device.show, page=True), "POST": Route(device.enter, page=True)},
    "/device/confirm": {"POST": Route(device.confirm, page=True)},
    "/userinfo": {"GET": Route(userinfo.answer, cors=True), "POST": Route(userinfo.answer, cors=True)},
    "/introspect": {"POST": Route(introspection.introspect)},
    "/exposed": {"POST": Route(exposure.report)},
    "/revoke": {"POST": Route(revocation.revoke, cors=True)},
    "/status-lists/{id}": {"GET": Route(status_lists.show, cors=True)},
    "/revocations": {"GET": Route(revocations.revocations)},
    "/.well-known/oauth-authorization-server": {"GET": Route(discovery.discover, cors=True)},
    "/.well-known/openid-configuration": {"GET": Route(discovery.discover, cors=True)},
    "/.well-known/jwks.json": {"GET": Route(discovery.jwks, cors=True)},
    "/livez": {"GET": Route(health.healthz)},
    "/healthz": {"GET": Route(health.healthz)},
    "/readyz": {"GET": Route(health.readyz)},
    "/metrics": {"GET": Route(metrics.metrics)},
    "/api/v1/openapi.json": {"GET": Route(openapi)},
    "/assets/{name}": {"GET": Route(browser.asset)},
    "/zero/challenge": {"POST": Route(zero.challenge, cors=True)},
    "/zero/sign-in": {"POST": Route(identities.sign_in_by_program)},
    "/zero/renew": {"POST": Route(zero.renew, cors=True)},
    "/zero/revoke": {"POST": Route(zero.revoke, cors=True)},
    "/setup": {"GET": Route(setup.show, page=True), "POST": Route(setup.create, page=True)},
    "/sign-in": {"GET": Route(sign_in.show, page=True), "POST": Route(sign_in.submit, page=True)},
    "/sign-in/identity": {
        "GET": Route(identities.show_sign_in, page=True),
        "POST": Route(identities.sign_in, page=True),
    },
    "/account/identities": {
        "GET": Route(identities.show, page=True),
        "POST": Route(identities.change, page=True),
    },
    "/sign-in/second-factor": {
        "GET": Route(second_factor.show, page=True),
        "POST": Route(second_factor.submit, page=True),
    },
    "/select-account": {
        "GET": Route(select_account.show, page=True),
        "POST": Route(select_account.choose, page=True),
    },
    "/step-up": {"GET": Route(step_up.show, page=True), "POST": Route(step_up.submit, page=True)},
    "/recover": {
        "GET": Route(passwords.if_accepted(recover.show), page=True),
        "POST": Route(passwords.if_accepted(recover.submit), page=True),
    },
    "/reset-password": {
        "GET": Route(recover.show_reset, page=True),
        "POST": Route(recover.reset, page=True),
    },
    "/sign-up": {"GET": Route(sign_up.show, page=True), "POST": Route(sign_up.submit, page=True)},
    "/verify-email": {
        "GET": Route(sign_up.show_verify, page=True),
        "POST": Route(sign_up.verify, page=True),
    },
    "/upstream/link": {
        "GET": Route(upstream.show_link, page=True),
        "POST": Route(upstream.link, page=True),
    },
    "/account/upstream": {"POST": Route(upstream.unlink, page=True)},
    "/upstream/{name}": {"GET": Route(upstream.begin, page=True)},
    "/upstream/{name}/backchannel-logout": {"POST": Route(upstream_logout.receive)},
    "/upstream/{name}/callback": {
        "GET": Route(upstream.callback, page=True),
        "POST": Route(upstream_form.receive, page=True),
    },
    "/dev/mail": {"GET": Route(dev_mail.show, page=True)},
    "/": {"GET": Route(account.home, page=True)},
    "/.well-known/change-password": {"GET": Route(passwords.if_accepted(account.well_known_change_password))},
    "/account/email": {
        "GET": Route(account.show_email, page=True),
        "POST": Route(account.change_email, page=True),
    },
    "/account/delete": {
        "GET": Route(account.show_delete, page=True),
        "POST": Route(account.delete, page=True),
    },
    "/account/password": {
        "GET": Route(passwords.if_accepted(account_security.show_password), page=True),
        "POST": Route(passwords.if_accepted(account_security.change_password), page=True),
    },
    "/account/passkeys": {
        "GET": Route(account_security.show_passkeys, page=True),
        "POST": Route(account_security.change_passkeys, page=True),
    },
    "/account/second_factors": {
        "GET": Route(account_security.show_factors, page=True),
        "POST": Route(account_security.change_factors, page=True),
    },
    "/account/second_factors/totp": {
        "GET": Route(account_security.show_totp, page=True),
        "POST": Route(account_security.add_totp, page=True),
    },
    "/account/sessions": {
        "GET": Route(account_access.show_sessions, page=True),
        "POST": Route(account_access.end_sessions, page=True),
    },
    "/account/applications": {
        "GET": Route(account_access.show_applications, page=True),
        "POST": Route(account_access.revoke_application, page=True),
    },
    "/account/tokens": {
        "GET": Route(account_tokens.show, page=True),
        "POST": Route(account_tokens.change, page=True),
    },
    "/account/tokens/new": {
        "GET": Route(account_tokens.show_new, page=True),
        "POST": Route(account_tokens.create, page=True),
    },
    "/console": _pages("console_overview", "show"),
    "/console/clients": _pages("console_clients", "show"),
    "/console/clients/{id}": _pages("console_clients", "show_one", "change"),
    "/console/clients/{id}/edit": _pages("console_client_forms", "show_edit", "edit"),
    "/console/clients/{id}/protocol": _pages("console_client_protocol", "show", "change"),
    "/console/clients/{id}/delete": _pages("console_clients", "show_delete", "delete"),
    # Two segments, and listed after those of a client, so that a client called "new" has pages as well.
    "/console/clients/new/{kind}": _pages("console_client_forms", "show_new", "create"),
    "/console/events": _pages("console_events", "show"),
    "/console/events/file": _pages("console_events", "file"),
    "/console/keys": _pages("console_keys", "show", "rotate"),
    "/console/keys/{kid}": _pages("console_keys", "show_one", "withdraw"),
    "/console/scopes": _pages("console_scopes", "show"),
    "/console/check": _pages("console_check", "show", "examine"),
    "/console/playground": _pages("console_playground", "show", "run"),
    "/console/settings": _pages("console_settings", "show"),
    "/console/trust": _pages("console_trust", "show"),
    "/console/trust/new": _pages("console_trust", "show_new", "create"),
    "/console/trust/new-people": _pages("console_trust", "show_new", "create"),
    "/console/trust/{id}": _pages("console_trust", "show_one", "delete"),
    "/console/people": _pages("console_people", "show"),
    "/console/people/new": _pages("console_people", "show_new", "create"),
    "/console/people/{id}": _pages("console_person", "show", "change"),
    "/console/people/{id}/delete": _pages("console_person", "show_delete", "delete"),
    "/console/sessions": _pages("console_sessions", "show", "end_one"),
    "/console/tokens": _pages("console_tokens", "show"),
    "/console/tokens/new": _pages("console_tokens", "show_new", "create"),
    "/console/tokens/{id}": _pages("console_tokens", "show_one", "change"),
    "/sign-out": {"GET": Route(sign_out.show, page=True), "POST": Route(sign_out.submit, page=True)},
    "/logout": {
        "GET": Route(sign_out.end_session, page=True),
        "POST": Route(sign_out.end_session, page=True),
    },
    "/account": {"GET": Route(account.overview, page=True), "POST": Route(account.save_profile, page=True)},
}
# The paths whose requests are answered without a task of their own; see `protocol`.
HOT = frozenset({("POST", "/token"), ("POST", "/introspect"), ("POST", "/api/v1/tokens/verify")})


def every_route() -> Iterator[tuple[str, str, Route]]:
    """Return path, method and route of ROUTES, then of the JSON API."""
    for path, methods in ROUTES.items():
        for method, route in methods.items():
            yield path, method, route
    for one in OPERATIONS:
        yield operation.BASE + one.path, one.method, Route(operation.endpoint(one))
