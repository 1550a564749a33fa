"""What a program can get wrong when it makes a client: refused at once and by its name, before anything is sent."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from tests.client.conftest import Foreign
from tests.client.ways import READ

from watchword.client import (
    ApiToken,
    ClientCredentials,
    ClientSecret,
    FileStore,
    HttpxAuth,
    MemoryStore,
    PrivateKey,
    RefreshToken,
    TokenExchange,
    TokenSource,
    Unreachable,
    WrongAddress,
)
from watchword.client.requests_auth import RequestsAuth
from watchword.jose import jwk
from watchword.zero.client import ZeroProof

KEY = jwk.generate("ES256")
WHERE = "https://api.example.com"
MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "an empty token": (lambda: ApiToken("", api=WHERE), "the token is empty"),
    "a token from a variable that is not there": (lambda: ApiToken(cast(Any, None), api=WHERE), "the token is empty"),
    "a token with the line end of its file": (lambda: ApiToken("wwa_hunter2\n", api=WHERE), "strip it"),
    # The HTTP library refuses a header that ends with a space, and its error shows the header.
    "a token with a space behind it": (lambda: ApiToken("wwa_hunter2 ", api=WHERE), "strip it"),
    "a token with its scheme": (lambda: ApiToken("Bearer wwa_hunter2", api=WHERE), "without a word such as Bearer"),
    "a secret with the line end of its file": (lambda: ClientSecret("orders-sync", "hunter2\n"), "strip it"),
    "an empty secret": (lambda: ClientSecret("orders-sync", ""), "secret is empty"),
    "an empty client": (lambda: ClientSecret("", "hunter2"), "client_id is empty"),
    "a folder for a file of tokens": (lambda: FileStore("/"), "path: / is a folder: name a file in it"),
    "no subject token": (lambda: TokenExchange(lambda: cast(Any, None)).settled(), "what subject_token returns is empty"),
    "an unknown way to send it": (lambda: ClientSecret("orders-sync", "hunter2", cast(Any, "jwt")), "method: \"basic\" or"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_credential_that_cannot_be_one_is_refused_before_anything_is_sent(case: str) -> None:
    make, words = MISTAKES[case]
    with pytest.raises(ValueError, match=words) as refused:
        make()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("issuer", "api", "words"),
    [
        (f"{WHERE}/.well-known/openid-configuration", WHERE, "not the address of the metadata"),
        ("auth.example.com", WHERE, "the issuer must be https://host"),
        (WHERE, "api.example.com", "api must be https://host"),
        (WHERE, [WHERE, "https://api.example.com:port"], "api is not a valid address"),
    ],
)
def test_an_address_that_cannot_be_one_is_told_by_what_it_is_for(issuer: str, api: Any, words: str) -> None:
    with pytest.raises(WrongAddress, match=words):
        TokenSource(issuer, ClientSecret("a", "b"), READ, api=api)


@pytest.mark.parametrize("host", ["auth..example.com", "xn--a.example", f"{'a' * 64}.example"])
def test_an_issuer_by_a_name_that_nobody_can_have_does_not_answer(host: str) -> None:
    with pytest.raises(Unreachable, match="did not answer"):
        TokenSource(f"https://{host}", ClientSecret("a", "b"), READ, api=WHERE).token()


def test_the_issuer_that_the_metadata_name_is_told(foreign: Foreign) -> None:
    named = foreign.issuer + "/"
    with pytest.raises(Unreachable, match=f"of {named!r} names another issuer, {foreign.issuer!r}"):
        TokenSource(named, ClientSecret("a", "b"), READ, api=WHERE).token()


MISPLACED: dict[str, tuple[Callable[[], object], str]] = {
    "a pair for a client": (lambda: source(client=("orders-sync", "hunter2")), "client: such as ClientSecret"),
    "a class for a client": (lambda: source(client=ClientSecret), "client: make one, such as ClientSecret"),
    "a text for a grant": (lambda: source(grant="client_credentials"), "grant: such as ClientCredentials"),
    "a client for a grant": (lambda: source(grant=ClientSecret("orders-sync", "hunter2")), "grant: such as"),
    "a path for a store": (lambda: source(store="tokens.json"), 'store: such as FileStore'),
    "an asynchronous client for a client": (lambda: source(http=httpx.AsyncClient()), "http: give a synchronous httpx.Client"),
    "a text for whether tokens are bound": (lambda: source(dpop="no"), "dpop is True or False"),
    "no API": (lambda: source(api=None), "api: such as"),
    "an empty list of APIs": (lambda: source(api=[]), "api: give the address of the API"),
    "no API for an API token": (lambda: ApiToken("wwa_hunter2", api=cast(Any, None)), "api: such as"),
    "an API by a name that no request has": (lambda: source(api="https://bücher.example"), "api: write .* in ASCII"),
    "a token for its source": (lambda: HttpxAuth(cast(Any, "wwa_hunter2")), "source: such as ApiToken"),
    "a token for its source in requests": (lambda: RequestsAuth(cast(Any, "wwa_hunter2")), "source: such as ApiToken"),
    "a list of scopes": (lambda: ClientCredentials(cast(Any, ["orders:read"])), "scope: one text"),
    "scopes from a variable that is not there": (lambda: RefreshToken("hunter2", scope=cast(Any, None)), "scope: one text"),
    "a text for parameters": (lambda: ClientCredentials(parameters=cast(Any, "audience=hunter2")), "parameters: texts by name"),
    "a parameter without a value": (lambda: ClientCredentials(parameters={"audience": ""}), "parameters: texts by name"),
    "a parameter of several values": (lambda: RefreshToken(parameters=cast(Any, {"audience": ["hunter2"]})), "parameters: texts"),
    "a parameter from a variable that is not there": (lambda: RefreshToken(parameters=cast(Any, {"audience": None})), "parameters: texts"),
    "a parameter that is the client's": (lambda: ClientCredentials(parameters={"client_secret": "hunter2"}), "client_secret has a place"),
    "a parameter that is the client's to some servers": (lambda: ClientCredentials(parameters={"Scope": "hunter2"}), "Scope has a place"),
    "a parameter that is the grant's": (lambda: RefreshToken(parameters={"refresh_token": "hunter2"}), "refresh_token has a place"),
    "a grant as a parameter": (lambda: ClientCredentials(parameters={"grant_type": "password"}), "grant_type has a place"),
    "a token for the function that returns it": (lambda: TokenExchange(cast(Any, "hunter2")), "subject_token: a function"),
    "a token for an actor's function": (lambda: TokenExchange(str, actor_token=cast(Any, "hunter2")), "actor_token: a function"),
    "a key as text": (lambda: PrivateKey("orders-sync", cast(Any, "hunter2")), "key: such as watchword.jose.jwk.parse"),
    "a public key": (lambda: PrivateKey("orders-sync", jwk.parse(jwk.public_document(KEY))), "key: this one is public"),
    "a key as text for an API token": (lambda: ApiToken("wwa_hunter2", WHERE, cast(Any, "hunter2")), "key: such as"),
    "a client from a variable that is not there": (lambda: source(client=PrivateKey(cast(Any, None), KEY)), "client_id is empty"),
    "a client with the line end of its file": (lambda: source(client=ZeroProof("orders-sync\n", agent="hunter2"), dpop=True), "strip it"),
    "an identity without a key for its tokens": (lambda: source(client=ZeroProof("orders-sync", agent="hunter2")), "dpop: True"),
    "an identity in two places": (lambda: ZeroProof("orders-sync", "a.zero", passphrase="hunter2", agent="a.sock"), "or the socket"),
    "an identity nowhere": (lambda: ZeroProof("orders-sync"), "or the socket of an agent"),
    "a secret without what opens it": (lambda: ZeroProof("orders-sync", "a.zero"), "passphrase: opens the file"),
    "one of several identities in a file": (lambda: ZeroProof("orders-sync", "a.zero", passphrase="hunter2", identity="b"), "identity: names one"),
    "an exchange's audience as a parameter": (lambda: TokenExchange(str, parameters={"audience": "a"}), "audience has a place"),
}  # fmt: skip


def source(**given: Any) -> TokenSource:
    """Make a source of tokens; what is not given is right."""
    parts = {"client": ClientSecret("orders-sync", "hunter2"), "grant": READ, "api": WHERE} | given
    return TokenSource("https://auth.example.com", parts.pop("client"), parts.pop("grant"), **parts)


@pytest.mark.parametrize("case", MISPLACED)
def test_a_part_in_the_place_of_another_is_refused_when_a_client_is_made(case: str) -> None:
    assert source(store=MemoryStore(), http=httpx.Client(), dpop=True, api=[WHERE])
    make, words = MISPLACED[case]
    with pytest.raises(ValueError, match=words) as refused:
        make()
    assert "hunter2" not in str(refused.value)


class _Empty(MemoryStore):
    """A store that is false as long as nothing is in it."""

    def __len__(self) -> int:
        return int(self.load() is not None)


def test_a_store_that_is_still_empty_is_the_one_that_tokens_are_kept_in(foreign: Foreign) -> None:
    store = _Empty()
    made = TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=WHERE, store=store)
    assert made.token() == store.load().access_token  # type: ignore[union-attr]  # there is one now


@pytest.mark.parametrize("give_away", [pickle.dumps, copy.deepcopy])
def test_a_source_that_is_given_to_another_process_says_what_to_give_instead(
    give_away: Callable[[object], object],
) -> None:
    for one in (source(), source(store=FileStore("tokens.json"))):
        with pytest.raises(TypeError, match="create one in each process, with one FileStore"):
            give_away(one)
    with pytest.raises(TypeError, match="create one, and its source, in each process"):
        give_away(HttpxAuth(source()))
