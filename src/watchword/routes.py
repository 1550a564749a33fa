"""Every path of the server, the table `ROUTES`: which endpoint answers which method, and who may call it from a browser."""

from collections.abc import Iterator
from dataclasses import dataclass

from watchword import http, operation
from watchword.endpoints import (
    admin_clients,
    admin_keys,
    admin_tokens,
    device_authorization,
    discovery,
    health,
    introspection,
    metrics,
    par,
    registration,
    revocation,
    token,
    userinfo,
    zero,
)
from watchword.http import Endpoint, Request, Response
from watchword.operation import Operation
from watchword.pages import account, authorize, browser, device, identities, setup, sign_in

OPERATIONS: tuple[Operation, ...] = (
    *admin_tokens.OPERATIONS,
    *admin_clients.OPERATIONS,
    *admin_keys.OPERATIONS,
)


@dataclass(frozen=True, slots=True)
class Route:
    """How one method of one path is answered; `cors` opens it to scripts of any origin, without credentials;
    the refusals of a `page` are pages."""

    endpoint: Endpoint
    cors: bool = False
    page: bool = False


async def openapi(request: Request) -> Response:
    """Answer the OpenAPI document of the admin API."""
    return http.json_response(200, operation.openapi(OPERATIONS, request.runtime.settings.issuer))


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
    "/userinfo": {"GET": Route(userinfo.userinfo, cors=True), "POST": Route(userinfo.userinfo, cors=True)},
    "/introspect": {"POST": Route(introspection.introspect)},
    "/revoke": {"POST": Route(revocation.revoke, cors=True)},
    "/.well-known/oauth-authorization-server": {"GET": Route(discovery.discover, cors=True)},
    "/.well-known/openid-configuration": {"GET": Route(discovery.discover, cors=True)},
    "/.well-known/jwks.json": {"GET": Route(discovery.jwks, cors=True)},
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
    "/sign-out": {"GET": Route(sign_in.show_sign_out, page=True), "POST": Route(sign_in.sign_out, page=True)},
    "/account": {"GET": Route(account.overview, page=True), "POST": Route(account.save_profile, page=True)},
}
# The paths whose requests are answered without a task of their own; see `protocol`.
HOT = frozenset({("POST", "/token"), ("POST", "/introspect"), ("POST", "/api/v1/tokens/verify")})


def every_route() -> Iterator[tuple[str, str, Route]]:
    for path, methods in ROUTES.items():
        for method, route in methods.items():
            yield path, method, route
    for one in OPERATIONS:
        yield operation.BASE + one.path, one.method, Route(operation.endpoint(one))
