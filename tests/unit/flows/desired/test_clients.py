"""Every client that can be described is written, read again and compared without a difference."""

import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.cli import description, toml_text
from watchword.flows.clients import client_metadata
from watchword.flows.desired import state
from watchword.flows.desired.clients import ClientState
from watchword.flows.desired.state import State
from watchword.jose import jwk
from watchword.oauth.clients import AUTH_METHODS, GRANT_TYPES, SHORT_GRANTS
from watchword.oauth.errors import OAuthError

KEY = jwk.public_document(jwk.generate("ES256"))
ADDRESS = st.sampled_from(
    ["https://a.example.com/cb", "https://a.example.com/b?c=d", "https://b.example.com/"]
)
ADDRESSES = st.lists(ADDRESS, max_size=3)
WORDS = st.lists(st.sampled_from(["openid", "email", "a:b", "introspect"]), max_size=3, unique=True)
NAME = st.text("aé \"\\'#=[]{}\U0001f600", min_size=1, max_size=20)
JWK = st.fixed_dictionaries(
    {}, optional={"kid": NAME, "x5c": st.lists(st.text("AB="), max_size=2), "exp": st.integers(0, 2**40)}
).map(lambda more: KEY | more)
TARGET = st.fixed_dictionaries(
    {"issuer": ADDRESS, "client_id": NAME},
    optional={"scope": WORDS, "resources": ADDRESSES, "tell_email": st.booleans()},
)
EXCHANGE = {
    "serves": ADDRESSES,
    "audiences": ADDRESSES,
    "impersonate": st.booleans(),
    "delegate": st.booleans(),
    "max_lifetime": st.integers(5, 3600),
    "assertions": st.lists(TARGET, max_size=2),
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": NAME,
    "disabled": st.booleans(),
    "redirect_uris": ADDRESSES,
    "post_logout_redirect_uris": ADDRESSES,
    "grant_types": st.lists(st.sampled_from([*GRANT_TYPES, *SHORT_GRANTS]), max_size=3),
    "token_endpoint_auth_method": st.sampled_from(AUTH_METHODS),
    "scope": WORDS.map(" ".join),
    "resources": ADDRESSES,
    "application_type": st.sampled_from(["web", "native"]),
    "jwks": st.fixed_dictionaries({"keys": st.lists(JWK, min_size=1, max_size=2)}),
    "jwks_uri": ADDRESS,
    "access_token_format": st.sampled_from(["jwt", "opaque"]),
    "access_token_lifetime": st.none() | st.integers(5, 86_400),
    "access_token_status": st.booleans(),
    "require_pkce": st.booleans(),
    "require_pushed_authorization_requests": st.booleans(),
    "require_signed_request_object": st.booleans(),
    "token_endpoint_auth_signing_alg": st.sampled_from(["ES256", "PS256"]),
    "request_object_signing_alg": st.sampled_from(["ES256", "PS256"]),
    "authorization_details_types": st.lists(NAME, max_size=2),
    "groups": st.lists(st.from_regex(r"[a-z][a-z:]{0,5}", fullmatch=True), max_size=2),
    "first_party": st.booleans(),
    "dpop_bound_access_tokens": st.booleans(),
    "tls_client_certificate_bound_access_tokens": st.booleans(),
    "tls_client_auth_subject": st.tuples(st.sampled_from(["san_dns", "subject_dn"]), NAME),
    "security_profile": st.sampled_from(["default", "fapi2"]),
    "default_max_age": st.none() | st.integers(0, 86_400),
    "require_auth_time": st.booleans(),
    "default_acr_values": st.lists(st.sampled_from(["a", "urn:b"]), max_size=2),
    "subject_type": st.sampled_from(["public", "pairwise"]),
    "sector_identifier_uri": ADDRESS,
    "backchannel_logout_uri": ADDRESS,
    "backchannel_logout_session_required": st.booleans(),
    "frontchannel_logout_uri": ADDRESS,
    "frontchannel_logout_session_required": st.booleans(),
    "token_exchange": st.fixed_dictionaries({}, optional=EXCHANGE),
} | {
    f"{kind}_{what}": st.just(value)
    for kind in ("id_token", "userinfo", "introspection")
    for what, value in (
        ("signed_response_alg", "ES256"),
        ("encrypted_response_alg", "ECDH-ES"),
        ("encrypted_response_enc", "A256GCM"),
    )
}
PEOPLE = {"grant_types": ["authorization_code"], "redirect_uris": ["https://a.example.com/cb"]}
SIGNS = {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]}}
KINDS: list[dict[str, Any]] = [
    {},
    PEOPLE,
    PEOPLE | {"token_endpoint_auth_method": "none"},
    SIGNS,
    PEOPLE | SIGNS | {"security_profile": "fapi2"},
    {
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject": ["san_dns", "a.example.com"],
    },
    {"grant_types": ["token_exchange"], "token_exchange": {}},
]


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """A client of some kind with a few fields that say something else."""
    kind = draw(st.sampled_from(KINDS))
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True))
    return {"client_id": "a", "name": "a"} | kind | {name: draw(FIELDS[name]) for name in names}


def test_every_field_of_a_client_is_tried() -> None:
    assert {"client_id", *FIELDS} == set(ClientState.__struct_fields__)


@given(descriptions())
def test_what_is_written_of_a_client_makes_the_same_client(fields: dict[str, Any]) -> None:
    described = msgspec.convert(fields, ClientState)
    try:
        client = client_metadata.to_client(described, "a")
    except OAuthError:
        return  # no client can be so
    own = {"client_id": "a", "disabled": described.disabled}
    shown = msgspec.convert(own | msgspec.to_builtins(client_metadata.to_input(client)), ClientState)
    entries = description.entries("clients", State(clients=(shown,)))
    (again,) = state.read(tomllib.loads(toml_text.tables({"clients": entries}))).clients or ()
    assert again == shown
    assert client_metadata.to_client(again, "a") == client


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_every_kind_can_be(kind: dict[str, Any]) -> None:
    client_metadata.to_client(msgspec.convert({"client_id": "a", "name": "a"} | kind, ClientState), "a")


def test_an_entry_without_an_identifier_is_named_by_its_number() -> None:
    named = {"client_id": "a", "name": "a"}
    assert state.read({"clients": [named]}).clients
    with pytest.raises(OAuthError) as caught:
        state.read({"clients": [named, named | {"client_id": ""}]})
    assert caught.value.description.startswith("clients, entry 2: client_id: ")


def test_a_public_client_without_redirect_uris_that_left_its_grants_out_is_told_to_name_them() -> None:
    public = {"client_id": "a", "name": "a", "token_endpoint_auth_method": "none"}
    signs_in = msgspec.convert(public | {"redirect_uris": ["https://app.example/cb"]}, ClientState)
    assert client_metadata.to_client(signs_in, "a").grant_types == ("authorization_code", "refresh_token")
    with pytest.raises(OAuthError) as caught:
        client_metadata.to_client(msgspec.convert(public, ClientState), "a")
    assert (caught.value.field, caught.value.code) == ("grant_types", "invalid_client_metadata")
    assert caught.value.description.endswith("other grants than client_credentials: name them.")
