"""The console's pages of signing keys and of trust rules, as the server would show them."""

from collections.abc import Mapping

from tests.unit.pages.contexts import API, DAY, NOW, Context, reading
from tests.unit.pages.gallery_console import MARA, console

from watchword.pages.render import Problem

KEY = {
    "kid": "Zk3vYt0mQw9XrLs5uB1nHc7dEa2gJf8pKi4oTy6xMqE", "url": "/console/keys/1", "algorithm": "ES256", "state": "current",
    "created_at": NOW - 40 * DAY, "activates_at": NOW - 30 * DAY, "retires_at": None, "rotates_at": NOW + 60 * DAY,
}  # fmt: skip
SPARE = {**KEY, "state": "next", "activates_at": None, "rotates_at": None}
UNUSED = {**KEY, "algorithm": "RS256", "state": "unused", "rotates_at": None}
PUBLISHED = [
    {**KEY, "state": "retiring", "retires_at": NOW + DAY, "rotates_at": None}, KEY, SPARE,
    {**SPARE, "state": "announced", "activates_at": NOW + 300},
]  # fmt: skip
KEYS = [
    {"name": "ES256", "signs": True, "next": "kid_2", "published": PUBLISHED},
    {"name": "RS256", "signs": False, "next": "", "published": [UNUSED]},
]
RULE = {
    "id": "trust_1", "url": "/console/trust/trust_1", "name": "deploy", "kind": "workload", "scopes": ["deploy"],
    "issuer": "https://token.actions.githubusercontent.com", "subject": "ci:{repository}", "audience": "https://auth.example.com",
    "claims": ["repository=acme/shop", "ref=refs/heads/main"], "email_domains": [], "resources": API, "clients": [{"id": "client_1", "url": "/console/clients/client_1"}],
    "algorithms": ["ES256", "RS256"], "max_minutes": 60, "token_minutes": 10, "origin": "metadata", "jwks_uri": None, "networks": [],
    "created_at": NOW - DAY,
}  # fmt: skip
PEOPLE = {
    **RULE, "kind": "people", "claims": [], "subject": "", "email_domains": ["acme.example", "acme.test"], "resources": [], "clients": [],
    "origin": "address", "jwks_uri": "https://10.20.0.7/keys", "networks": ["10.20.0.0/16"],
}  # fmt: skip
NEW_URLS = {"workload": "/console/trust/new", "people": "/console/trust/new-people"}
LIFETIMES = {"max_lifetime": [300, 3600, 86_400], "token_lifetime": [300, 600, 3600]}
TYPED = {"claims": "repository=acme/shop\nref", "max_lifetime": 3600, "token_lifetime": 600}


def rule_form(kind: str, **more: object) -> dict[str, object]:
    return console("trust", kind=kind, issuer="https://auth.example.com", lifetimes=LIFETIMES, **more)


KEYS_AND_TRUST_PAGES: Mapping[str, Context] = {
    "console/keys": console("keys", algorithms=KEYS, published_url="/.well-known/jwks.json"),
    "console/keys:meanwhile": console(
        "keys", algorithms=KEYS[:1], published_url="/.well-known/jwks.json", errors={"form": "key_rotated_meanwhile"}
    ),
    **{
        f"console/key:{one['state']}": console("keys", key=one, typed=6, events_url="/console/events?target=1")
        for one in (*PUBLISHED, UNUSED)
    },
    "console/key": console("keys", key=KEY, typed=6, events_url="/console/events", errors={"beginning": "beginning_wrong"}, values={"beginning": "x"}),
    "console/trust": reading(console("trust", rules=[RULE, PEOPLE], new_urls=NEW_URLS, next_url="?cursor=x")),
    "console/trust:none": reading(console("trust", rules=[], new_urls=NEW_URLS, next_url=None)),
    "console/trust_rule": console("trust", maker=MARA, rule=RULE, events_url="/console/events?target=trust_1"),
    "console/trust_rule:people": console("trust", maker=MARA, rule=PEOPLE, events_url="/console/events?target=trust_1"),
    "console/trust_rule:given": console("trust", maker=MARA, rule={**RULE, "origin": "given"}, events_url="/console/events"),
    "console/trust_new": rule_form("workload", values={"max_lifetime": 3600, "token_lifetime": 600}),
    "console/trust_new:wrong": rule_form(
        "workload", values=TYPED,
        errors={
            "form": Problem("refused", {"why": "A rule names scopes."}), "claims": Problem("claim_unreadable", {"line": "ref"}),
            "issuer": "required", "token_lifetime": "invalid",
        }),
    "console/trust_new:twice": rule_form("workload", values=TYPED, errors={"claims": Problem("claim_twice", {"claim": "ref"})}),
    "console/trust_new:people": rule_form("people", values={"max_lifetime": 3600, "token_lifetime": 600}),
}  # fmt: skip
