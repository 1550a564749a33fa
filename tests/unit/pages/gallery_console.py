"""The console's pages, as the server would show them: the frame, the first page, API tokens and the audit trail."""

from collections.abc import Mapping

from tests.unit.pages.contexts import ACCOUNT, API, DAY, NOW, Context, form, reading

from watchword.pages.render import Problem


def console(section: str, **more: object) -> dict[str, object]:
    sections = [
        "overview",
        "tokens",
        "clients",
        "people",
        "sessions",
        "scopes",
        "trust",
        "keys",
        "events",
        "check",
        "playground",
        "settings",
    ]
    links = {"sign_out": "/sign-out", "account": "/account", "back": f"/console/{section}"}
    person = {"name": ACCOUNT["name"], "identifier": "mara"}
    return form(root="/console", section=section, sections=sections, account=person, links=links, **more)


def listing(context: Context) -> dict[str, object]:
    """A page whose only form filters what it shows."""
    return {**reading(context), "action": "/console/list"}


MARA = {"id": "user_1", "name": "mara", "url": "/console/people/user_1"}
PROGRAM = {"id": "application:nightly backup", "name": None, "url": None}
NOBODY = {"id": "", "name": None, "url": None}
EVENTS = [
    {"id": "c:7", "at": NOW, "name": "token.created", "actor": MARA, "about_url": "/console/events?target=token_1",
     "target": {"id": "token_1", "name": None, "url": "/console/tokens/token_1"},
     "details": [("scope", "orders:read"), ("owner", "application:nightly backup")]},
    {"id": "c:6", "at": NOW - 50, "name": "session.ended", "actor": {"id": "cli", "name": None, "url": None}, "about_url": "/console/events?target=session_1",
     "target": {**MARA, "id": "session_1"}, "details": []},
    {"id": "c:5", "at": NOW - 60, "name": "server.started", "actor": NOBODY, "target": NOBODY, "about_url": "/console/events", "details": []},
]  # fmt: skip
CONSOLE_TOKEN = {
    "id": "token_1", "url": "/console/tokens/token_1", "name": "Nightly backup", "owner": PROGRAM,
    "owner_kind": "application", "scopes": ["orders:read", "orders:write"], "resources": API, "created_at": NOW - 20 * DAY,
    "expires_at": NOW + 3 * DAY, "revoked_at": None, "state": "expiring",
    "path": "/orders", "addresses": ["192.0.2.0/24"], "rate_limit": 60, "quota": None, "bound": True,
}  # fmt: skip
CONSOLE_PAGES: Mapping[str, Context] = {
    "console/second_needed": reading(console("overview", may=["confirm"], way="/step-up")),
    "console/second_needed:none": reading(console("overview", may=["set_up"], way="/account/second_factors")),
    "console/overview": reading(console(
        "overview", ending=2, events=EVENTS, all_events="/console/events",
        advice=["second_factor", "one_administrator", "no_mail", "open_registration", "development"],
        numbers=[{"section": name, "count": 10_000 if name == "tokens" else 3, "more": name == "tokens", "url": f"/console/{name}"}
                 for name in ("tokens", "clients", "people", "sessions")])),
    "console/overview:empty": reading(console("overview", ending=0, events=[], all_events="/console/events", advice=[], numbers=[])),
    "console/events": listing(console(
        "events", events=EVENTS, next_url="?cursor=x", further_url=None, looked_until=None, file_url="/console/events/file", most=10_000, values={"name": "token.created"})),
    "console/events:none": listing(console(
        "events", events=[], next_url=None, further_url=None, looked_until=None, file_url="/console/events/file", most=10_000)),
    "console/events:further": listing(console(
        "events", events=[], next_url=None, further_url="?cursor=y", looked_until=NOW, file_url="/console/events/file?name=x", most=10_000,
        values={"name": "x"})),
    "console/tokens": listing(console(
        "tokens", new_url="/console/tokens/new", states=["all", "active", "expired", "revoked"], next_url="?cursor=x",
        values={"state": "active"},
        tokens=[CONSOLE_TOKEN, {**CONSOLE_TOKEN, "state": "revoked", "expires_at": None, "owner_kind": "user", "owner": MARA}])),
    "console/tokens:none": listing(console("tokens", new_url="/console/tokens/new", states=["all"], tokens=[], next_url=None)),
    "console/token": console(
        "tokens", token=CONSOLE_TOKEN, owner=PROGRAM, maker=MARA, parents=[{**CONSOLE_TOKEN, "name": "Backups"}], events_url="/console/events?target=token_1",
        overlaps=[86_400, 0], outcomes=[{"outcome": "active", "count": 1204, "most": 1204}, {"outcome": "wrong_scope", "count": 3, "most": 1204}],
        secrets=[{"hint": "wwa_…x9Qz", "created_at": NOW - DAY, "expires_at": None, "last_used_at": NOW, "last_address": "203.0.113.7"},
                 {"hint": "wwa_…k2Ab", "created_at": NOW - 20 * DAY, "expires_at": NOW + DAY, "last_used_at": None, "last_address": None}]),
    "console/token:revoked": console(
        "tokens", owner=MARA, maker=MARA, parents=[], events_url="/console/events", overlaps=[], outcomes=[], secrets=[],
        token={**CONSOLE_TOKEN, "state": "revoked", "revoked_at": NOW, "path": None, "addresses": [], "rate_limit": None, "bound": False}),
    "console/token_new": console("tokens", resources=API, days=[30, 90], never=True, values={"days": 90}),
    "console/token_new:wrong": console(
        "tokens", resources=API, days=[30], never=False, values={"name": "CI", "owner": "ci"},
        errors={"scope": Problem("refused", {"why": "The scope is not valid."}), "days": "invalid"}),
    "console/token_secret": reading(console(
        "tokens", made="rotated", token=CONSOLE_TOKEN, owner=CONSOLE_TOKEN["owner"], secret="wwa_7Fk2mPq9LxVt3RzYc8HnBw5JdGs1KaE6uQx9Qz", old_until=NOW + DAY, done_url="/console/tokens/1")),
    "console/token_secret:created": reading(console("tokens", made="created", token=CONSOLE_TOKEN, owner=CONSOLE_TOKEN["owner"], secret="wwa_1", old_until=None, done_url="/console/tokens/1")),
}  # fmt: skip
