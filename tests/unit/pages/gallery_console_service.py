"""The console's pages about the service itself, as the server would show them: APIs and scopes, a token that is checked, settings."""

from collections.abc import Mapping

from tests.unit.pages.contexts import DAY, NOW, Context, reading
from tests.unit.pages.gallery_console import MARA, console

ORDERS = {
    "name": "Orders API",
    "uri": "https://api.example.com/orders",
    "default": False,
    "format": "opaque",
    "status_list": True,
}
ISSUER = {
    "name": "https://auth.example.com",
    "uri": "https://auth.example.com",
    "default": True,
    "format": "",
    "status_list": False,
}
SCOPE = {
    "name": "orders:read",
    "sentence": "See your orders",
    "risk": "low",
    "optional": False,
    "personal": True,
    "claims": [],
}
SCOPES = [
    SCOPE,
    {**SCOPE, "name": "orders:delete", "sentence": "Delete your orders for good", "risk": "high", "optional": True, "personal": False},
    {**SCOPE, "name": "team", "sentence": None, "risk": "elevated", "claims": ["department", "cost_centre"]},
]  # fmt: skip
TYPES = [{"name": "payment_initiation", "sentence": "Pay from your account", "risk": "high"}]
NOTHING = {
    "kind": "nothing",
    "reason": "nothing",
    "active": False,
    "ended": False,
    "token": None,
    "client": None,
    "subject": None,
    "header": [],
    "claims": [],
}
SHOP = {"id": "client_1", "name": None, "url": "/console/clients/client_1"}
TOKEN = {
    "name": "Nightly backup", "url": "/console/tokens/token_1", "scopes": ["orders:read"], "expires_at": NOW + 3 * DAY, "state": "active",
    "resource": {"name": "Orders API", "uri": "https://api.example.com/orders"}, "path": "/orders", "addresses": ["192.0.2.0/24"], "bound": True,
}  # fmt: skip
CLAIMS = [
    {"name": "iss", "text": "https://auth.example.com", "at": None}, {"name": "exp", "text": str(NOW), "at": NOW},
    {"name": "cnf", "text": '{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}', "at": None},
]  # fmt: skip
HEADER = [{"name": "alg", "text": "ES256", "at": None}, {"name": "typ", "text": "at+jwt", "at": None}]
OPTIONS = [
    {"name": "issuer", "value": "https://auth.example.com", "default": False},
    {"name": "upstream", "value": "github, northwind", "default": False},
]
OTHERS = [
    {"name": "brand", "value": "ww", "default": True},
    {"name": "smtp_url", "value": "", "default": True},
]
COLOURS = [
    {"scheme": "light", "colour": "#0d6b5e", "background": "#ffffff", "contrast": 6.4},
    {"scheme": "dark", "colour": "#4fc7b5", "background": "#15191c", "contrast": 8.5},
]


def check(result: Mapping[str, object] | None, **more: object) -> dict[str, object]:
    return console("check", most=65_536, result=result, **more)


def settings(**looks: object) -> dict[str, object]:
    shown = {"name": "Northwind", "logos": [], "colours": COLOURS, "own_templates": False, **looks}
    return reading(
        console(
            "settings",
            version="0.1.0",
            changed=OPTIONS,
            others=OTHERS,
            looks=shown,
            scopes_url="/console/scopes",
        )
    )


SERVICE_PAGES: Mapping[str, Context] = {
    "console/scopes": reading(
        console("scopes", resources=[ISSUER, ORDERS], scopes=SCOPES, undescribed=["reports:read", "reports:write"], types=TYPES)
    ),
    "console/scopes:none": reading(console("scopes", resources=[ISSUER], scopes=[], undescribed=[], types=[])),
    "console/check": check(None),
    "console/check:empty": check(None, errors={"credential": "required"}),
    "console/check:token": check({**NOTHING, "kind": "a", "reason": "active", "active": True, "token": TOKEN, "subject": MARA}),
    "console/check:ended": check({**NOTHING, "kind": "o", "reason": "active", "active": True, "ended": True, "client": SHOP}),
    "console/check:forged": check(
        {**NOTHING, "kind": "access_jwt", "reason": "signature", "client": SHOP, "subject": MARA, "claims": CLAIMS, "header": HEADER}
    ),
    "console/check:nothing": check(NOTHING),
    "console/settings": settings(logos=["/assets/logo.svg", "/assets/logo-dark.svg"], own_templates=True),
    "console/settings:plain": settings(),
}  # fmt: skip
