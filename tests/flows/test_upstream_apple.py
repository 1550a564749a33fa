"""Sign in with Apple, whose secret is a signed statement, whose answer is a form, and which tells a name once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.fixtures.accounts import another, make
from tests.fixtures.lying_provider import PATH, Provider, begin, provider, trusting
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server
from tests.store.made import select

from watchword.flows.upstream import upstream_secret
from watchword.jose import jwk, jwt
from watchword.settings import Settings, SettingsError, Upstream, load

__all__ = ["provider"]
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = json.dumps({"name": {"firstName": "Grace", "lastName": "Hopper"}, "email": "ada@example.com"})


def pem(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes | None = None
) -> bytes:
    """Return a private key as Apple hands one out."""
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        hidden = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def apple(tmp_path: Path, issuer: str | None = None, content: bytes | None = None) -> Upstream:
    """Return the configuration of Apple, whose part another issuer may play."""
    file = tmp_path / "AuthKey_ABC123DEFG.p8"
    file.write_bytes(pem(KEY) if content is None else content)
    return Upstream(
        name="hub", title="Apple", kind="apple", client_id="us", issuer=issuer,
        team_id="DEF123GHIJ", key_id="ABC123DEFG", private_key_file=str(file),
    )  # fmt: skip


@pytest_asyncio.fixture
async def server(provider: Provider, store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server where people sign in with Apple, with a person in it."""
    provider.claims = {"sub": "001.abc.9", "email": "grace@example.com", "email_verified": "true"}
    provider.metadata = {
        "authorization_response_iss_parameter_supported": False,
        "response_modes_supported": ["query", "fragment", "form_post"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }
    async with trusting(tmp_path, apple(tmp_path, provider.issuer), on=store.address) as opened:
        provider.now = opened.clock
        await make(opened)
        yield opened


async def come_back(server: Server, provider: Provider, **more: str) -> Person:
    """Sign in with Apple at a fresh browser."""
    person = Person(server, another(server))
    answer = await begin(person, provider)
    answer.pop("iss")
    async with another(server) as without_cookies:
        sent = await without_cookies.post(
            PATH, data=answer | more, headers={"origin": "https://appleid.apple.com"}
        )
    await person.open(sent.headers["location"])
    return person


async def test_somebody_signs_in_with_apple_and_is_called_as_its_first_answer_says(
    server: Server, provider: Provider
) -> None:
    person = Person(server, another(server))
    asked = parse_qs(urlsplit((await person.http.get("/upstream/hub")).headers["location"]).query)
    assert (asked["scope"], asked["response_mode"]) == (["openid name email"], ["form_post"])
    assert (await come_back(server, provider, user=NAME)).path == "/account"
    authorization, form = provider.presented[-1]
    assert authorization is None
    public = jwk.Key("ABC123DEFG", "ES256", "EC", KEY.public_key(), None, "")
    now = int(server.clock())
    claims = jwt.decode(
        form["client_secret"][0], [public], algorithms=("ES256",), typ="JWT",
        issuer="DEF123GHIJ", audience=provider.issuer, now=now, leeway=0,
    )  # fmt: skip
    assert (claims["sub"], claims["exp"] - now) == ("us", 300)
    later = json.dumps({"name": {"firstName": "Mallory"}})
    assert (await come_back(server, provider, user=later)).path == "/account"
    rows = await server.runtime.database.read(
        select, "SELECT username, display_name FROM users WHERE username <> 'ada'"
    )
    assert [tuple(row) for row in rows] == [("grace@example.com", "Grace Hopper")]


@pytest.mark.parametrize(
    "user",
    [
        "",
        "{",
        "[]",
        '{"name": "Grace"}',
        '{"name": {"firstName": 1}}',
        json.dumps({"name": {"firstName": "x" * 300}}),
    ],
)
async def test_a_name_that_cannot_be_read_is_none(server: Server, provider: Provider, user: str) -> None:
    assert (await come_back(server, provider, user=user)).path == "/account"


async def test_fd_01_what_nobody_signed_says_no_address(server: Server, provider: Provider) -> None:
    forged = json.dumps({"email": "ada@example.com", "email_verified": True, "sub": "somebody else"})
    provider.claims["email_verified"] = "false"
    assert (await come_back(server, provider, user=forged)).path == PATH, (
        "no account without a verified address"
    )
    provider.claims["email_verified"] = "true"
    assert (await come_back(server, provider, user=forged)).path == "/account", "the honest variant"


async def test_a_key_that_is_gone_is_told_to_the_operator_alone(
    server: Server, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(server.settings.upstream[0].private_key_file or "").unlink()
    person = await come_back(server, provider)
    assert "didn’t sign you in" in person.text
    assert '"reason": "secret"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a private key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "not a key for ES256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "not a key for ES256"),
        (pem(KEY, b"secret"), "not a private key in PEM without a passphrase"),
    ],
    ids=["empty", "Ed25519", "another curve", "with a passphrase"],
)
def test_a_key_that_cannot_sign_is_refused_at_the_start(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    upstream_secret.check(Settings(upstream=(apple(tmp_path),)))
    with pytest.raises(SettingsError, match=complaint):
        upstream_secret.check(Settings(upstream=(apple(tmp_path, content=content),)))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"kind": "apple"}, "needs team_id, key_id and private_key_file"),
        ({"kind": "apple", "team_id": "t", "key_id": "k", "private_key_file": "f", "client_secret": "s"}, "no client_secret"),
        ({"kind": "apple", "team_id": "t", "key_id": "k", "private_key_file": "f", "issuer": "https://x.example"}, "none for GitHub or Apple"),
        ({"issuer": "https://x.example", "team_id": "t"}, 'for kind = "apple"'),
        ({"kind": "github", "response_mode": "form_post"}, "does not support response_mode"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(given: dict[str, str], complaint: str) -> None:
    one = {"name": "hub", "title": "The Hub", "client_id": "us"}
    with pytest.raises(SettingsError, match=complaint):
        load({"upstream": [one | given]}, environ={})
