"""The table `ROUTES`, every path of the server: which endpoint answers which method, and whether scripts of other origins may call it."""

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module

import msgspec

from watchword import http
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
from watchword.http import Endpoint, Request, Response, operation
from watchword.http.operation import Operation
from watchword.oauth.errors import OAuthError
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
    pages; `too_large` is the status and the error of a body over the limit; `path` is the template, set when the route is registered."""

    endpoint: Endpoint
    cors: bool = False
    page: bool = False
    too_large: tuple[int, str] = http.TOO_LARGE
    path: str = ""


async def openapi(request: Request) -> Response:
    """Answer the OpenAPI document of the admin API."""
    return http.json_response(200, _openapi(request.runtime.settings.issuer))


@lru_cache(maxsize=1)
def _openapi(issuer: str) -> dict[str, object]:
    """Return the OpenAPI document, made once: anyone may ask for it, and making it keeps the event loop for a tenth of a second."""
    return operation.openapi(OPERATIONS, issuer)


def _imported(module: str, name: str) -> Endpoint:
    """Return an endpoint of the console, imported with its first request: a server that only issues tokens never needs it."""

    async def answer(request: Request) -> Response:
        endpoint: Endpoint = getattr(import_module(f"watchword.pages.console.{module}"), name)
        try:
            return await endpoint(request)
        except OAuthError as error:
            if error.code != "not_found":
                raise
            gone = import_module("watchword.pages.console.gone")
            answered: Response = await gone.answer(request, error)
            return answered

    return answer


def _page(show: Endpoint, submit: Endpoint | None = None) -> dict[str, Route]:
    """Return the routes of a page, and of the form on it if there is one."""
    shown = {"GET": Route(show, page=True)}
    return shown if submit is None else shown | {"POST": Route(submit, page=True)}


def _console(module: str, show: str, change: str = "") -> dict[str, Route]:
    """Return the routes of a console page by the names of its endpoints."""
    return _page(_imported(module, show), _imported(module, change) if change else None)


# RFC 6749 §5.2 and whatever refers to it, RFC 7591 §3.2.2: every error has this status; for a pushed request RFC 9126 §2.3 says 413.
MALFORMED = (400, "invalid_request")
NO_METADATA = (400, "invalid_client_metadata")
ROUTES: dict[str, dict[str, Route]] = {
    "/token": {"POST": Route(token.token, cors=True, too_large=MALFORMED)},
    "/par": {"POST": Route(par.push, cors=True)},
    "/register": {"POST": Route(registration.register, cors=True, too_large=NO_METADATA)},
    "/register/{client_id}": {
        "GET": Route(registration.show, cors=True),
        "PUT": Route(registration.replace, cors=True, too_large=NO_METADATA),
        "DELETE": Route(registration.delete, cors=True),
    },
    "/authorize": _page(authorize.authorize, authorize.authorize),
    "/authorize/resume": _page(authorize.resume),
    "/authorize/consent": {"POST": Route(authorize.consent, page=True)},
    "/device_authorization": {"POST": Route(device_authorization.begin, cors=True, too_large=MALFORMED)},
    "/device": _page(device.show, device.enter),
    "/device/confirm": {"POST": Route(device.confirm, page=True)},
    "/userinfo": {"GET": Route(userinfo.answer, cors=True), "POST": Route(userinfo.answer, cors=True)},
    "/introspect": {"POST": Route(introspection.introspect, too_large=MALFORMED)},
    "/exposed": {"POST": Route(exposure.report)},
    "/revoke": {"POST": Route(revocation.revoke, cors=True, too_large=MALFORMED)},
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
    "/setup": _page(setup.show, setup.create),
    "/sign-in": _page(sign_in.show, sign_in.submit),
    "/sign-in/identity": _page(identities.show_sign_in, identities.sign_in),
    "/account/identities": _page(identities.show, identities.change),
    "/sign-in/second-factor": _page(second_factor.show, second_factor.submit),
    "/select-account": _page(select_account.show, select_account.choose),
    "/step-up": _page(step_up.show, step_up.submit),
    "/recover": _page(passwords.if_accepted(recover.show), passwords.if_accepted(recover.submit)),
    "/reset-password": _page(recover.show_reset, recover.reset),
    "/sign-up": _page(sign_up.show, sign_up.submit),
    "/verify-email": _page(sign_up.show_verify, sign_up.verify),
    "/upstream/link": _page(upstream.show_link, upstream.link),
    "/account/upstream": {"POST": Route(upstream.unlink, page=True)},
    "/upstream/{name}": _page(upstream.begin),
    "/upstream/{name}/backchannel-logout": {"POST": Route(upstream_logout.receive)},
    "/upstream/{name}/callback": _page(upstream.callback, upstream_form.receive),
    "/dev/mail": _page(dev_mail.show),
    "/": _page(account.home),
    "/.well-known/change-password": {"GET": Route(passwords.if_accepted(account.well_known_change_password))},
    "/account/email": _page(account.show_email, account.change_email),
    "/account/delete": _page(account.show_delete, account.delete),
    "/account/password": _page(
        passwords.if_accepted(account_security.show_password),
        passwords.if_accepted(account_security.change_password),
    ),
    "/account/passkeys": _page(account_security.show_passkeys, account_security.change_passkeys),
    "/account/second_factors": _page(account_security.show_factors, account_security.change_factors),
    "/account/second_factors/totp": _page(account_security.show_totp, account_security.add_totp),
    "/account/sessions": _page(account_access.show_sessions, account_access.end_sessions),
    "/account/applications": _page(account_access.show_applications, account_access.revoke_application),
    "/account/tokens": _page(account_tokens.show, account_tokens.change),
    "/account/tokens/new": _page(account_tokens.show_new, account_tokens.create),
    "/console": _console("overview", "show"),
    "/console/clients": _console("clients", "show"),
    "/console/clients/{id}": _console("clients", "show_one", "change"),
    "/console/clients/{id}/edit": _console("client_forms", "show_edit", "edit"),
    "/console/clients/{id}/protocol": _console("client_protocol", "show", "change"),
    "/console/clients/{id}/delete": _console("clients", "show_delete", "delete"),
    # Two segments, and after the routes of a client, so that a client named "new" has pages too.
    "/console/clients/new/{kind}": _console("client_forms", "show_new", "create"),
    "/console/events": _console("events", "show"),
    "/console/events/file": _console("events", "file"),
    "/console/keys": _console("keys", "show", "rotate"),
    "/console/keys/{kid}": _console("keys", "show_one", "withdraw"),
    "/console/scopes": _console("scopes", "show"),
    "/console/check": _console("check", "show", "examine"),
    "/console/playground": _console("playground", "show", "run"),
    "/console/settings": _console("settings", "show"),
    "/console/trust": _console("trust", "show"),
    "/console/trust/new": _console("trust", "show_new", "create"),
    "/console/trust/new-people": _console("trust", "show_new", "create"),
    "/console/trust/{id}": _console("trust", "show_one", "delete"),
    "/console/people": _console("people", "show"),
    "/console/people/new": _console("people", "show_new", "create"),
    "/console/people/{id}": _console("person", "show", "change"),
    "/console/people/{id}/delete": _console("person", "show_delete", "delete"),
    "/console/sessions": _console("sessions", "show", "end_one"),
    "/console/tokens": _console("tokens", "show"),
    "/console/tokens/new": _console("tokens", "show_new", "create"),
    "/console/tokens/{id}": _console("tokens", "show_one", "change"),
    "/sign-out": _page(sign_out.show, sign_out.submit),
    "/logout": _page(sign_out.end_session, sign_out.end_session),
    "/account": _page(account.overview, account.save_profile),
}
# The paths whose requests are answered without a task of their own; see `http_server.protocol`.
HOT = frozenset({("POST", "/token"), ("POST", "/introspect"), ("POST", "/api/v1/tokens/verify")})


def every_route() -> Iterator[tuple[str, str, Route]]:
    """Return path, method and route of ROUTES, then of the JSON API."""
    for path, methods in ROUTES.items():
        for method, route in methods.items():
            yield path, method, route
    for one in OPERATIONS:
        yield operation.BASE + one.path, one.method, Route(operation.endpoint(one))
