"""The console's trust rules (RFC 7523): listed, created for CI jobs and for an enterprise's people, deleted.

Rare options (keys from a file, private networks, chosen algorithms) are left to the command line and the admin API.
"""

from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.http.operation import convert
from watchword.oauth.errors import OAuthError
from watchword.pages import account, scopes
from watchword.pages.account import Person
from watchword.pages.console import frame, links
from watchword.pages.render import Problem
from watchword.store import trust as store
from watchword.store.trust import Rule

KINDS = {"new": "workload", "new-people": "people"}
REQUIRED = {
    "workload": ("name", "issuer", "claims", "subject", "scope"),
    "people": ("name", "issuer", "email_domains", "scope"),
}
FIELDS = (*dict.fromkeys((*REQUIRED["workload"], *REQUIRED["people"])), "audience", "resources", "clients")
# Seconds that are offered; the second one is preselected.
LIFETIMES = {"max_lifetime": (300, 3600, 86_400), "token_lifetime": (300, 600, 3600)}


async def show(request: Request) -> Response:
    """List the rules."""
    return await answer_list(request, await frame.require(request))


async def answer_list(
    request: Request, person: Person, problem: str | None = None, status: int = 200
) -> Response:
    """Answer the list, with a `problem` where it is shown in place of something else."""
    rows = await request.runtime.lists.read(
        store.list_rules, after=frame.after(request, "trust"), limit=frame.PAGE + 1
    )
    shown, following = frame.listed(request, "trust", rows, lambda rule: rule.id, {})
    context = {
        "rules": [_view(request, rule) for rule in shown],
        "next_url": following,
        "new_urls": {kind: frame.address(request, "trust", below) for below, kind in KINDS.items()},
        "errors": {"form": problem} if problem else {},
    }
    return frame.page(request, person, "trust", context, status=status)


def _view(request: Request, rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "url": frame.address(request, "trust", rule.id),
        "name": rule.name,
        "kind": rule.kind,
        "issuer": rule.issuer,
        "scopes": list(rule.scope),
    }


async def show_one(request: Request) -> Response:
    """Show one rule in full."""
    found = await frame.require(request)
    rule = await trust_rules.show(request.runtime, request.path_params["id"])
    places = await links.find(request, [rule.created_by])
    context = {
        "action": frame.address(request, "trust", rule.id),
        "maker": places[rule.created_by],
        "rule": {**_view(request, rule), **_facts(request, rule)},
        "events_url": f"{frame.address(request, 'events')}?target={rule.id}",
    }
    return frame.page(request, found, "trust", context, template="trust_rule")


def _facts(request: Request, rule: Rule) -> dict[str, object]:
    return {
        "subject": rule.subject,
        "audience": rule.audience,
        "claims": [f"{name}={pattern}" for name, pattern in rule.claims.items()],
        "email_domains": list(rule.email_domains),
        "resources": [scopes.resource(request, uri) for uri in rule.resources],
        "clients": [{"id": one, "url": frame.address(request, "clients", one)} for one in rule.clients],
        "algorithms": list(rule.algorithms),
        "max_minutes": -(-rule.max_lifetime // 60),
        "token_minutes": -(-rule.token_lifetime // 60),
        "origin": "given" if rule.jwks is not None else "address" if rule.jwks_uri else "metadata",
        "jwks_uri": rule.jwks_uri,
        "networks": list(rule.networks),
        "created_at": rule.created_at,
    }


async def delete(request: Request) -> Response:
    """Delete a rule; the tokens that were issued by it are revoked."""
    found = await frame.require_fresh(request)
    account.form_of(request, found)
    await trust_rules.delete(frame.acting(request, found), request.path_params["id"], actor=found[1].id)
    return frame.done(request, "trust_deleted", "trust")


async def show_new(request: Request) -> Response:
    """Show the form for a rule of the kind that the address names."""
    return _new(request, await frame.require_fresh(request))


def _new(
    request: Request, person: Person, form: Form | None = None, errors: dict[str, object] | None = None
) -> Response:
    below = request.path.rpartition("/")[2]
    typed = {name: (form.get(name) or "") if form else "" for name in (*FIELDS, *LIFETIMES)}
    chosen = {
        name: int(typed[name]) if typed[name] in _choices(name) else offered[1]
        for name, offered in LIFETIMES.items()
    }
    context = {
        "action": frame.address(request, "trust", below),
        "kind": KINDS[below],
        "issuer": request.runtime.settings.issuer,
        "lifetimes": {name: list(offered) for name, offered in LIFETIMES.items()},
        "values": {**typed, **chosen},
        "errors": errors or {},
    }
    return frame.page(request, person, "trust", context, template="trust_new", status=400 if errors else 200)


def _choices(name: str) -> set[str]:
    return {str(seconds) for seconds in LIFETIMES[name]}


async def create(request: Request) -> Response:
    """Make a rule."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    kind = KINDS[request.path.rpartition("/")[2]]
    wrong = _wrong(form, kind)
    if wrong:
        return _new(request, found, form, wrong)
    try:
        given = convert(_given(form, kind), TrustInput)
        rule = await trust_rules.create(frame.acting(request, found), given, actor=found[1].id)
    except OAuthError as error:
        return _new(request, found, form, frame.problems(error, form))
    return frame.done(request, "trust_created", "trust", rule.id)


def _wrong(form: Form, kind: str) -> dict[str, object]:
    """Return what is wrong with the form of a new rule, by field."""
    wrong: dict[str, object] = {
        name: "required" for name in REQUIRED[kind] if not (form.get(name) or "").strip()
    }
    for name in LIFETIMES:
        if form.get(name) not in _choices(name):
            wrong[name] = "invalid"
    names = set()
    for line in _lines(form, "claims"):
        name, equals, pattern = (part.strip() for part in line.partition("="))
        if not (name and equals and pattern):
            wrong["claims"] = Problem("claim_unreadable", {"line": line[:100]})
        elif name in names:
            wrong["claims"] = Problem("claim_twice", {"claim": name[:100]})
        names.add(name)
    return wrong


def _lines(form: Form, name: str) -> list[str]:
    return [line.strip() for line in (form.get(name) or "").splitlines() if line.strip()]


def _given(form: Form, kind: str) -> dict[str, object]:
    """Return the form's values as the admin API takes them."""
    claims = (line.partition("=") for line in _lines(form, "claims"))
    return {
        "name": (form.get("name") or "").strip(),
        "kind": kind,
        "issuer": (form.get("issuer") or "").strip(),
        "scope": " ".join((form.get("scope") or "").split()),
        "subject": (form.get("subject") or "").strip() or None,
        "audience": (form.get("audience") or "").strip() or None,
        "claims": {name.strip(): pattern.strip() for name, _, pattern in claims},
        **{name: (form.get(name) or "").split() for name in ("resources", "clients", "email_domains")},
        **{name: int(form.get(name) or "") for name in LIFETIMES},
    }
