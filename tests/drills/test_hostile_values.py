"""F-15: values made to break parsers, in every place that takes JSON, a form or a signed token; refused in time, and never a 5xx.

What the admin API, /token, /introspect, /revoke and /register do with whole bodies is shown in `tests/attacks/test_bad_input.py` and
`tests/flows/test_registration.py`. Here are the other addresses, the fields of pages behind a sign-in, and tokens whose signature
holds, so that what they say is looked at.
"""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit

import httpx
import pytest
import pytest_asyncio
from tests.attacks.test_bad_input import HOSTILE_FORMS, still_serves
from tests.drills.carriers import CARRIERS, KEY, SUCCEED
from tests.drills.conftest import HEAVY, KINDS
from tests.drills.hostile import BODIES, COLLIDING, TEXTS, VALUES
from tests.fixtures.accounts import another, make
from tests.fixtures.documents import Documents
from tests.fixtures.people import Forms, Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.app.routes import ROUTES
from watchword.jose import jwk, jws
from watchword.jose.jwk import Key, b64encode
from watchword.jose.strict_json import encode
from watchword.settings import Upstream

LONGEST = 10.0  # seconds that no answer takes, on however slow a machine this runs
# Of the values for a member of a token only each fourth in the short form, others for another
EVERY = 1 if HEAVY else 4


def on(usual: str) -> pytest.MarkDecorator:
    """Run a test on one kind of database, in the long form on both."""
    return pytest.mark.parametrize(
        "store", [kind for kind in KINDS if HEAVY or kind.id == usual], indirect=True
    )


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path, documents: Documents) -> AsyncIterator[Server]:
    """The real application with everything that takes something, and no limit that would answer first."""
    issuer = documents.base
    documents.publish("/.well-known/openid-configuration", {
        "issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks", "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
    })  # fmt: skip
    documents.publish("/jwks", {"keys": [jwk.public_document(KEY)]})
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=issuer)
    async with open_server(
        tmp_path, on=store.address, fetch_allow_loopback=True, upstream=(hub,), registration="open", sign_up="open",
        mode="development", anonymous_per_minute=1_000_000, registrations_per_hour=100_000,
    ) as opened:  # fmt: skip
        yield opened


async def is_refused_in_time(server: Server, what: str, ask: Callable[[], Any]) -> httpx.Response:
    """Show that a request is answered soon, and not by a failure."""
    begun = time.monotonic()
    answer: httpx.Response = await ask()
    assert answer.status_code < 500, (what, answer.status_code, answer.text[:300])
    assert time.monotonic() - begun < LONGEST, what
    return answer


KINDS_OF_BODY = ("application/json", "application/x-www-form-urlencoded")
TAKING = [
    (method, path) for path, methods in ROUTES.items() for method in methods if method in ("POST", "PUT")
]


PARTS = 4  # each with a server of its own


@on("sqlite")  # bodies are refused before anything is stored
@pytest.mark.parametrize("part", range(PARTS))
async def test_f_15_a_body_made_to_break_parsers_is_refused_by_every_address(
    server: Server, part: int
) -> None:
    for method, path in TAKING[part::PARTS]:
        named = path.replace("{client_id}", "x").replace("{name}", "hub")
        for name, body in BODIES.items():
            kinds = KINDS_OF_BODY if HEAVY or "F-15" in name else KINDS_OF_BODY[name in HOSTILE_FORMS :][:1]
            for kind in kinds:
                what = f"{name} as {kind} to {method} {path}"
                headers = {"content-type": kind, "origin": server.settings.issuer}
                ask = partial(server.http.request, method, named, content=body, headers=headers)
                answer = await is_refused_in_time(server, what, ask)
                assert answer.status_code >= 400 or not answer.is_success or path == "/logout", what
    await still_serves(server)


# Pages


FIELDS = (
    "credential",
    "proof",
    "decision",
    "password",
    "code",
    "session",
    "application",
    "passkey",
    "do",
    "end_access",
    "return",
)
PAGES = (
    "/sign-in", "/sign-in/identity", "/sign-up", "/recover", "/device", "/account", "/account/email", "/account/password",
    "/account/passkeys", "/account/second_factors", "/account/second_factors/totp", "/account/sessions", "/account/applications",
    "/account/tokens", "/account/tokens/new", "/account/identities", "/account/delete", "/sign-out", "/step-up?return=/account",
)  # fmt: skip


@on("postgres")  # the stricter one about text and numbers
@pytest.mark.parametrize("path", PAGES)
async def test_f_15_no_field_of_a_page_takes_the_server_down(server: Server, path: str) -> None:
    await make(server)
    async with another(server) as browser:
        person = Person(server, browser)
        if not path.startswith(("/sign-in", "/sign-up", "/recover")):
            await person.sign_in()
        for form in await forms_of(person, path):
            address = form.pop("")
            fields = [field for field in (*form, *FIELDS) if field != "csrf"]
            for given in [[field] for field in fields] if HEAVY else [fields[:1], fields]:
                for name, value in VALUES.items():
                    what = f"{name} in {given} of {address}"
                    ask = partial(send_fields, person, address, form, dict.fromkeys(given, value))
                    await is_refused_in_time(server, what, ask)
    await still_serves(server)


async def forms_of(person: Person, path: str) -> list[dict[str, str]]:
    """Return the forms of a page as they would be sent; where there is nothing to be changed yet, one that a browser could send."""
    assert (await person.open(path)).status_code == 200, person.text[:300]
    assert person.page is not None
    parser = Forms()
    parser.feed(person.page.text)
    found = [form | {"": form[""] or path} for form in parser.forms if "csrf" in form]
    if not found:
        await person.open("/account")
        found = [{"": path, "csrf": person.form()["csrf"]}]
    return found


async def send_fields(
    person: Person, address: str, form: dict[str, str], given: dict[str, bytes]
) -> httpx.Response:
    """Send a form some of whose fields have values of bytes."""
    pairs = {name: text.encode() for name, text in form.items()} | given
    body = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in pairs.items())
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": person.server.settings.issuer,
    }
    return await person.http.post(urlsplit(address).path or "/", content=body, headers=headers)


# Signed tokens


def sign(claims: dict[str, object], typ: str, member: str = "", text: str = "", key: Key = KEY) -> str:
    """Sign claims, one of which is written as given."""
    rest = encode({name: value for name, value in claims.items() if name != member}).decode()
    payload = rest if not member else f'{rest[:-1]},"{member}":{text}}}'
    header: dict[str, object] = {"typ": typ}
    if typ == "dpop+jwt":
        header["jwk"] = {
            name: value
            for name, value in jwk.public_document(key).items()
            if name in ("kty", "crv", "x", "y")
        }
        key = Key(None, key.alg, key.kty, key.public, key.private, key.thumbprint)
    return jws.sign(key, header, payload.encode())


def heads() -> list[str]:
    """Return headers made to break parsers, encoded."""
    texts = [f'{{"alg":"ES256","kid":{text}}}' for text in TEXTS.values()]
    texts += [f'{{"alg":{text},"typ":"JWT"}}' for text in TEXTS.values()]
    texts += [f'{{"alg":"ES256","typ":{text},"jwk":{text}}}' for text in TEXTS.values()]
    texts += [COLLIDING[:5_000].rpartition(b",")[0].decode() + ',"alg":"ES256"}']
    return [b64encode(text.encode()) for text in texts]


@on("postgres")
@pytest.mark.parametrize("name", CARRIERS)
async def test_f_15_what_is_signed_and_hostile_is_refused_in_time(
    server: Server, documents: Documents, name: str
) -> None:
    claims, typ, send = await CARRIERS[name](server, documents)
    honest = sign(claims | ({"jti": "honest"} if "jti" in claims else {}), typ)
    answer = await send(honest)
    if name.startswith(SUCCEED):
        assert answer.status_code < 400, answer.text[:300]
        assert "error=" not in answer.headers.get("location", "")
    for number, member in enumerate((*claims, "acr", "scope", "act", "cnf", "authorization_details")):
        for what, text in list(TEXTS.items())[number % EVERY :: EVERY]:
            said = claims if "jti" not in claims else claims | {"jti": f"{member} {what}"}
            token = sign(said, typ, member, text)
            await is_refused_in_time(server, f"{member} is {what}", partial(send, token))
    rest = honest[honest.index(".") :]
    for head in heads()[::EVERY]:
        await is_refused_in_time(server, head, partial(send, head + rest))
    await still_serves(server)
