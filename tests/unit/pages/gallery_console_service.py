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
    "groups": [],
    "claims": [],
}
SCOPES = [
    SCOPE,
    {**SCOPE, "name": "orders:delete", "sentence": "Delete your orders for good", "risk": "high", "optional": True, "personal": False, "groups": ["staff", "support"]},
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


STEP = {
    "method": "POST", "path": "/token", "headers": [("Authorization", "Basic …")], "fields": [("grant_type", "authorization_code"), ("code", "wwc_7Qm1Zx8e…")],
    "status": 200, "succeeded": True, "body": '{\n  "access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9",\n  "expires_in": 600\n}', "answer": {},
}  # fmt: skip
DEVICE = {
    **STEP, "path": "/device_authorization", "body": '{\n  "user_code": "BCDF-GHJK"\n}',
    "answer": {"user_code": "BCDF-GHJK", "verification_uri_complete": "/device?user_code=BCDF-GHJK"},
}  # fmt: skip
CARRIED = dict.fromkeys(("code", "state", "access_token", "refresh_token", "device_code"), "")
CLIENT = {
    "url": "/console/clients/console-playground",
    "scope": ["openid", "orders:read"],
    "disabled": False,
    "leads_back": True,
    "address": "/back",
}
FINDINGS = [("resource", True), ("server", False), ("known", False), ("scopes", True)]


def playground(**more: object) -> dict[str, object]:
    plain = {"client": CLIENT, "resources": [ISSUER, ORDERS]}
    steps = {"authorize": None, "received": [], "made": None, "said": [], "mcp": None, "carried": CARRIED}
    return console("playground", **{**plain, **steps, **more})


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
    "console/playground": playground(
        authorize="/authorize?response_type=code&client_id=console-playground",
        mcp={"command": "watchword doctor https://mcp.example.com", "findings": [{"kind": kind, "succeeded": good, "value": "x"} for kind, good in FINDINGS]},
    ),
    "console/playground:new": playground(client=None),
    "console/playground:back": playground(
        client={**CLIENT, "disabled": True, "leads_back": False},
        received=[{"name": "code", "value": "wwc_7Qm1Zx8e"}, {"name": "state", "value": "k3jd"}],
        carried={**CARRIED, "code": "wwc_7Qm1Zx8e", "state": "k3jd"},
    ),
    "console/playground:tokens": playground(
        made=STEP,
        said=[{**NOTHING, "name": "access_token", "kind": "access_jwt", "reason": "active", "active": True, "claims": CLAIMS, "header": HEADER}],
        carried={**CARRIED, "access_token": "eyJ0", "refresh_token": "wwr_1"},
    ),
    "console/playground:device": playground(made=DEVICE, carried={**CARRIED, "device_code": "wwd_1"}),
    "console/settings": settings(logos=["/assets/logo.svg", "/assets/logo-dark.svg"], own_templates=True),
    "console/settings:plain": settings(),
}  # fmt: skip
