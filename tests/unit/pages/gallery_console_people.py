"""The console's pages of people and their sessions, as the server would show them."""

from collections.abc import Mapping

from tests.unit.pages.contexts import DAY, NOW, Context, reading
from tests.unit.pages.gallery_console import console, listing

from watchword.pages.render import Problem

LISTED = {
    "id": "user_1", "url": "/console/people/user_1", "name": "Mara Lindqvist", "username": "mara", "email": "mara@example.com",
    "email_verified": True, "is_admin": True, "disabled_at": None, "created_at": NOW - 90 * DAY,
}  # fmt: skip
BARE = {
    "id": "user_2", "url": "/console/people/user_2", "name": None, "username": "kim", "email": None, "email_verified": False,
    "is_admin": False, "disabled_at": NOW - DAY, "created_at": NOW - 9 * DAY,
}  # fmt: skip
NAMED_BY_ADDRESS = {**BARE, "username": "lee@example.com", "email": "lee@example.com", "disabled_at": None}
MORE = {
    "has_password": True, "password_changed_at": NOW - 20 * DAY, "passkeys": 2, "totp": True, "email_code": True, "recovery_codes": 8, "identities": 1,
    "elsewhere": [{"name": "Example Corp", "account": "m.lindqvist"}, {"name": "GitHub", "account": "mara"}], "applications": 3, "tokens": 4,
    "groups": ["staff", "orders:managers"],
    "tokens_url": "/console/tokens?owner=mara", "about_url": "/console/events?target=user_1", "by_url": "/console/events?actor=user_1",
}  # fmt: skip
NOTHING = {
    **MORE, "has_password": False, "password_changed_at": None, "passkeys": 0, "totp": False, "email_code": False, "recovery_codes": 0, "identities": 0,
    "elsewhere": [], "applications": 0, "tokens": 0, "groups": [],
}  # fmt: skip
VISIT = {
    "id": "session_1", "username": "mara", "user_url": "/console/people/user_1", "device": "Firefox on Linux", "kind": "computer",
    "place": "Gothenburg, Sweden", "address": "203.0.113.7", "methods": ["password", "totp"], "level": "two", "started_at": NOW - DAY,
    "last_used_at": NOW, "remembered": False, "current": True,
}  # fmt: skip
VISITS = [
    VISIT,
    {**VISIT, "id": "session_2", "device": "Safari on iPhone", "kind": "phone", "place": None, "methods": ["passkey_verified"],
     "level": "resistant", "remembered": True, "current": False},
    {**VISIT, "id": "session_3", "methods": ["passkey", "recovery_code", "email_code", "upstream", "identity"], "level": "one", "current": False},
    {**VISIT, "id": "session_4", "methods": [], "level": "none", "current": False},
]  # fmt: skip
OFFERED = ["edit", "reset", "remove_factors", "give", "take", "switch_off", "switch_on", "delete"]
CONSOLE_PEOPLE_PAGES: Mapping[str, Context] = {
    "console/people": listing(console(
        "people", new_url="/console/people/new", people=[LISTED, BARE, NAMED_BY_ADDRESS], states=["all", "administrators", "disabled"],
        next_url="?cursor=x", values={"search": "m", "group": "staff", "state": "all"})),
    "console/people:none": listing(console("people", new_url="/console/people/new", people=[], states=["all"], next_url=None)),
    "console/person": console(
        "people", user={**LISTED, **MORE}, visits=VISITS[1:], all_visits="/console/sessions?user=x", may=OFFERED,
        values={"display_name": "Mara Lindqvist", "email": "mara@example.com", "groups": "staff orders:managers"}, notice="person_created"),
    "console/person:bare": console("people", user={**BARE, **NOTHING}, visits=[], all_visits=None, may=["edit", "switch_on", "delete"]),
    "console/person:own": console("people", user={**LISTED, **MORE}, visits=VISITS, all_visits=None, may=[], errors={"form": "own_account"}),
    "console/person:wrong": console(
        "people", user={**BARE, **NOTHING}, visits=[], all_visits=None, may=OFFERED, values={"display_name": "\u200b", "email": "nowhere", "groups": "a b,c"},
        errors={"display_name": Problem("refused", {"why": "This name can't be seen."}), "email": "changed_meanwhile",
                "groups": Problem("reason.group_name")}),
    "console/person_new": console("people", may=["invite", "mail"], hours=72),
    "console/person_new:wrong": console(
        "people", may=["invite"], hours=72, values={"email": "nowhere", "admin": "yes", "username": "a b"},
        errors={"email": "required", "username": Problem("refused", {"why": "Use letters."}), "address": "required", "form": "required"}),
    "console/person_new:no_links": console("people", may=[], hours=72),
    "console/person_link": reading(console(
        "people", kind="invite", whom="kim@example.com", link="https://id.example.com/sign-up?link=wwu_7Fk2mPq9LxVt3RzYc8HnBw5JdGs1KaE6uQx9Qz",
        hours=72, mailed=True, done_url="/console/people")),
    "console/person_link:reset": reading(console(
        "people", kind="reset", whom="kim", link="https://id.example.com/reset-password?link=wwu_1", hours=24, mailed=False,
        done_url="/console/people/user_2")),
    "console/person_delete": console(
        "people", user=LISTED, ends={"sessions": 2, "applications": 3, "tokens": 4}, back_url="/console/people/user_1"),
    "console/person_delete:wrong": console(
        "people", user=BARE, ends={"sessions": 0, "applications": 0, "tokens": 0}, back_url="/console/people/user_2",
        errors={"identifier": "name_wrong"}),
    "console/sessions": console("sessions", visits=VISITS, next_url="?cursor=x", values={"user": "mara"}),
    "console/sessions:none": console(
        "sessions", visits=[], next_url=None, values={"user": "nobody"}, errors={"user": Problem("refused", {"why": "There is no such account."})}),
}  # fmt: skip
