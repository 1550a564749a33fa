"""The console's trust rules as administrators use them: made for CI jobs and for people, seen, ended."""

from tests.fixtures.accounts import user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.flows.trust import trust_rules
from watchword.store import trust as store
from watchword.store.audit import events
from watchword.store.trust import Rule

__all__ = ["admin", "server"]
PAGE = "/console/trust"
CI = {
    "name": "deploy",
    "issuer": "https://token.actions.example.com",
    "claims": "repository=acme/shop\r\n\r\n ref = refs/heads/main\r\n",
    "subject": "ci:{repository}",
    "scope": "deploy  read",
}
PEOPLE = {
    "name": "acme",
    "issuer": "https://idp.acme.example",
    "email_domains": "acme.example acme.test",
    "scope": "read",
    "resources": "https://api.example.com/orders",
}


async def rules(server: Server) -> list[Rule]:
    return await server.runtime.database.read(store.list_rules, after="", limit=10)


async def make(admin: Person, given: dict[str, str], below: str = "new") -> Person:
    await admin.open(f"{PAGE}/{below}")
    await admin.send(given, having="issuer")
    return admin


LIVES = {"max_lifetime": "3600", "token_lifetime": "600"}


async def test_a_rule_for_ci_jobs_is_made_shown_and_listed(admin: Person) -> None:
    await make(admin, {**CI, "max_lifetime": "300", "token_lifetime": "3600"})
    assert "The rule applies from now on." in admin.text
    (rule,) = await rules(admin.server)
    assert admin.path == f"{PAGE}/{rule.id}"
    assert dict(rule.claims) == {"repository": "acme/shop", "ref": "refs/heads/main"}
    assert (rule.kind, rule.subject, rule.scope) == ("workload", "ci:{repository}", ("deploy", "read"))
    assert (rule.audience, rule.max_lifetime, rule.token_lifetime) == (
        admin.server.settings.issuer,
        300,
        3600,
    )
    assert rule.created_by == (await user_of(admin.server)).id
    assert admin.page is not None
    assert f'/console/people/{rule.created_by}"' in admin.page.text
    for fact in ("repository=acme/shop", "ref=refs/heads/main", "ci:{repository}", "5 min", "60 min"):
        assert fact in admin.text
    await admin.open(PAGE)
    assert "deploy" in admin.text
    assert CI["issuer"] in admin.text


async def test_a_day_is_offered_and_shown_as_hours(admin: Person) -> None:
    await make(admin, {**CI, "max_lifetime": "86400", "token_lifetime": "300"})
    assert "24 h" in admin.text
    await admin.open(f"{PAGE}/new")
    assert "24 h" in admin.text
    assert "1440" not in admin.text


async def test_a_rule_for_an_enterprises_people_is_made(admin: Person) -> None:
    await make(admin, {**PEOPLE, **LIVES}, "new-people")
    (rule,) = await rules(admin.server)
    assert (rule.kind, rule.email_domains) == ("people", ("acme.example", "acme.test"))
    assert rule.resources == ("https://api.example.com/orders",)
    assert "acme.example, acme.test" in admin.text


WRONG = {
    "nothing at all": (dict.fromkeys(CI, ""), "Fill this in."),
    "a claim without a value": ({"claims": "repository"}, "“repository” is not of the form name=value."),
    "a claim that is named twice": ({"claims": "ref=a\nref=b"}, "ref is given twice."),
    "a rule that everybody satisfies": ({"claims": "repository=*"}, "more than require a claim to exist"),
    "a subject that could be a person of this service": (
        {"subject": "user_{sub}"},
        "must begin with a prefix",
    ),
    "an issuer that is no address": ({"issuer": "tokens of the CI"}, "https addresses"),
    "an issuer without encryption": ({"issuer": "http://ci.example.com"}, "https addresses"),
    "this service itself": ({"issuer": "{own}"}, "need not trust itself"),
    "an API that is no address": ({"resources": "orders"}, "resource"),
    "a life that is not offered": ({"token_lifetime": "9999999"}, "This value can’t be used."),
}


@in_turn(("given", "said"), WRONG.values(), ids=WRONG.keys())
async def test_wrong_input_is_said_beside_its_field_and_what_was_typed_is_kept(
    admin: Person, given: dict[str, str], said: str
) -> None:
    own = {name: value.replace("{own}", admin.server.settings.issuer) for name, value in given.items()}
    await make(admin, {**CI, **LIVES, **own})
    assert admin.page is not None
    assert admin.page.status_code == 400
    assert said in admin.text
    assert own.get("scope", CI["scope"]) in admin.page.text
    assert own.get("claims", "repository=acme/shop") in admin.text
    assert not await rules(admin.server)


async def test_a_name_that_is_taken_is_said(admin: Person) -> None:
    await make(admin, {**CI, **LIVES})
    await make(admin, {**CI, **LIVES})
    assert "There is a rule of this name." in admin.text
    assert len(await rules(admin.server)) == 1


async def test_a_rule_is_deleted_once(admin: Person) -> None:
    await make(admin, {**CI, **LIVES})
    (rule,) = await rules(admin.server)
    await admin.open(f"{PAGE}/{rule.id}")
    form = admin.form()
    await admin.send({})
    assert (admin.path, await rules(admin.server)) == (PAGE, [])
    assert "The rule is deleted" in admin.text
    (gone,) = await admin.server.runtime.database.read(events.list_events, limit=5, name="trust.deleted")
    assert (gone.actor, gone.target) == ((await user_of(admin.server)).id, rule.id)
    again = await admin.http.post(form.pop(""), data=form)
    assert again.headers["location"].endswith(f"{PAGE}?notice=gone")


async def test_what_the_command_line_made_is_shown_whole(admin: Person) -> None:
    given = trust_rules.TrustInput(
        name="<b>inside</b>",
        issuer="https://ci.internal.example",
        scope="deploy",
        subject="ci:{sub}",
        claims={"sub": "job-*"},
        jwks_uri="https://ci.internal.example:8443/keys",
        networks=["10.20.0.0/16"],
        clients=["client_1"],
        algorithms=["ES256"],
    )
    rule = await trust_rules.create(admin.server.runtime, given, actor="cli")
    await admin.open(f"{PAGE}/{rule.id}")
    for fact in ("<b>inside</b>", "https://ci.internal.example:8443/keys", "10.20.0.0/16", "client_1", "cli"):
        assert fact in admin.text
    assert admin.page is not None
    assert "<b>inside</b>" not in admin.page.text
