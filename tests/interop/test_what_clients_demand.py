"""What real clients stumbled over at other servers: one case for each demand, against the real server over TLS."""

import base64
import hashlib
import json
import secrets
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from tests.interop.conftest import Installation
from tests.interop.relying_party import Visitor

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
ORIGIN = {"origin": "https://app.example.com"}


@pytest.fixture
def metadata(installation: Installation) -> dict[str, Any]:
    """The server's metadata."""
    found: dict[str, Any] = installation.http.get(METADATA[0]).json()
    return found


def public_client(installation: Installation, **given: Any) -> dict[str, Any]:
    """Register an application in a browser or on a machine."""
    wanted: dict[str, Any] = {
        "redirect_uris": ["https://app.example.com/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        "scope": "openid email orders:read",
    }
    return installation.client(**wanted | given)


def request(installation: Installation, client: dict[str, Any], **changes: str | None) -> str:
    """Return the address of an authorization request."""
    parameters = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": client["redirect_uris"][0],
        "scope": "openid",
        "state": "s",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{installation.issuer}/authorize?{query}"


def answer(
    installation: Installation, client: dict[str, Any], decision: str = "approve", **changes: str | None
) -> dict[str, str]:
    """Return the parameters of the answer to a request."""
    end = installation.browser(decision=decision).visit(request(installation, client, **changes))
    return {name: values[0] for name, values in parse_qs(urlsplit(end).query).items()}


def tokens(installation: Installation, client: dict[str, Any], **changes: str | None) -> dict[str, Any]:
    """Walk the flow of a public client; return what the code bought."""
    code = answer(installation, client, **changes)["code"]
    form = {
        "grant_type": "authorization_code",
        "client_id": client["client_id"],
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": changes.get("redirect_uri") or client["redirect_uris"][0],
    }
    bought = installation.http.post("/token", data=form, headers=ORIGIN)
    assert bought.status_code == 200, bought.text
    assert bought.headers["access-control-allow-origin"] == "*"
    found: dict[str, Any] = bought.json()
    return found


@pytest.mark.parametrize(
    ("decision", "changes"),
    [("approve", {}), ("deny", {}), ("approve", {"prompt": "none"}), ("approve", {"response_type": "token"})],
    ids=["granted", "denied", "silent", "wrong"],
)
def test_iss_is_in_every_answer(
    installation: Installation, metadata: dict[str, Any], decision: str, changes: dict[str, str]
) -> None:
    found = answer(installation, public_client(installation), decision, **changes)
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert found["iss"] == installation.issuer
    assert ("error" in found) == (decision == "deny" or bool(changes))


def test_both_documents_name_the_same_issuer_letter_by_letter(installation: Installation) -> None:
    documents = [installation.http.get(path) for path in METADATA]
    assert {document.json()["issuer"] for document in documents} == {installation.issuer}
    assert documents[0].json() == documents[1].json()


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("code_challenge_methods_supported", {"S256"}),
        ("token_endpoint_auth_methods_supported", {"none", "client_secret_basic", "private_key_jwt"}),
        ("scopes_supported", {"openid", "offline_access"}),
        ("response_modes_supported", {"query", "form_post"}),
        ("grant_types_supported", {"authorization_code", "refresh_token", "client_credentials"}),
        ("dpop_signing_alg_values_supported", {"ES256", "EdDSA", "Ed25519"}),
    ],
)
def test_the_metadata_lists(metadata: dict[str, Any], member: str, values: set[str]) -> None:
    assert values <= set(metadata[member])


def test_documents_of_clients_are_announced_together_with_clients_without_a_secret(
    metadata: dict[str, Any],
) -> None:
    assert metadata["client_id_metadata_document_supported"] is True
    assert "none" in metadata["token_endpoint_auth_methods_supported"]


def test_every_address_of_the_metadata_is_there_and_redirects_nobody(
    installation: Installation, metadata: dict[str, Any]
) -> None:
    for name, address in metadata.items():
        if name.endswith(("_endpoint", "_uri")):
            allowed = installation.http.options(address)
            assert allowed.status_code == 204, name
            method = "POST" if "POST" in allowed.headers["allow"] else "GET"
            called = installation.http.request(method, address, content=b"")
            assert called.status_code not in (301, 302, 307, 308, 404, 405), name


def test_an_empty_answer_to_a_revocation_claims_no_content_type(installation: Installation) -> None:
    client = public_client(installation)
    form = {"token": "unknown", "client_id": client["client_id"]}
    revoked = installation.http.post("/revoke", data=form)
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert "content-type" not in revoked.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_program_on_a_persons_machine_listens_on_any_port(installation: Installation, host: str) -> None:
    registered = [f"http://{host}/callback"]
    client = public_client(installation, redirect_uris=registered, application_type="native")
    for port in (1025, 54321):
        assert "code" in answer(installation, client, redirect_uri=f"http://{host}:{port}/callback")
    other = installation.http.get(request(installation, client, redirect_uri=f"http://{host}:1025/elsewhere"))
    assert other.status_code == 400


def test_a_request_without_scope_gets_what_the_client_is_registered_for(installation: Installation) -> None:
    found = tokens(installation, public_client(installation), scope=None)
    assert set(found["scope"].split()) == {"openid", "email", "orders:read"}


CORS = {
    "token_endpoint": "POST",
    "userinfo_endpoint": "GET",
    "revocation_endpoint": "POST",
    "pushed_authorization_request_endpoint": "POST",
    "device_authorization_endpoint": "POST",
    "registration_endpoint": "POST",
    "jwks_uri": "GET",
}


@pytest.mark.parametrize("member", CORS)
def test_scripts_of_any_origin_may_call(
    installation: Installation, metadata: dict[str, Any], member: str
) -> None:
    asked = {
        "access-control-request-method": CORS[member],
        "access-control-request-headers": "authorization,dpop",
    }
    preflight = installation.http.options(metadata[member], headers=ORIGIN | asked)
    assert preflight.status_code in (200, 204)
    called = installation.http.request(CORS[member], metadata[member], headers=ORIGIN)
    for found in (preflight, called):
        assert found.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in found.headers
    assert CORS[member] in preflight.headers["access-control-allow-methods"]
    if CORS[member] == "POST" or member == "userinfo_endpoint":
        assert {"authorization", "dpop"} <= set(
            preflight.headers["access-control-allow-headers"].lower().split(", ")
        )


@pytest.mark.parametrize("path", METADATA)
def test_scripts_of_any_origin_may_discover(installation: Installation, path: str) -> None:
    assert installation.http.get(path, headers=ORIGIN).headers["access-control-allow-origin"] == "*"
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "mcp-protocol-version"}
    preflight = installation.http.options(path, headers=ORIGIN | asked)
    assert preflight.headers["access-control-allow-origin"] == "*"
    allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
    assert "mcp-protocol-version" in allowed, (
        "MCP clients name their protocol's version from the first question on"
    )


@pytest.mark.parametrize("path", ["/authorize", "/sign-in", "/account", "/introspect"])
def test_no_script_may_call(installation: Installation, path: str) -> None:
    found = installation.http.get(path, headers=ORIGIN)
    assert "access-control-allow-origin" not in found.headers


def test_registration_tolerates_what_the_server_does_not_use(installation: Installation) -> None:
    document = {
        "client_name": "Everything",
        "redirect_uris": ["https://app.example.com/cb"],
        "token_endpoint_auth_method": "client_secret_basic",
        "token_endpoint_auth_signing_alg": "RS256",
        "software_id": "4NRB1-0XZABZI9E6-5SM3R",
        "software_version": "2.0",
        "contacts": ["a@example.com"],
        "logo_uri": "https://app.example.com/logo.png",
        "initiate_login_uri": "https://app.example.com/login",
        "default_max_age": 3600,
        "require_auth_time": True,
        "unheard_of": {"a": [1]},
    }
    made = installation.http.post("/register", json=document)
    assert made.status_code == 201, made.text
    assert made.json()["client_secret"]


def test_an_access_token_says_that_it_is_one(installation: Installation) -> None:
    found = tokens(installation, public_client(installation))
    header = json.loads(base64.urlsafe_b64decode(found["access_token"].split(".")[0] + "=="))
    assert header["typ"] == "at+jwt"
    assert found["token_type"] == "Bearer"


def test_sign_in_and_consent_are_forms_without_scripts(installation: Installation) -> None:
    visitor = Visitor(installation.issuer, tls=installation.tls)
    end = visitor.go(request(installation, public_client(installation)))
    assert "code" in end.parameters
    assert visitor.shown == ["/sign-in", "/authorize/resume"]


def test_an_answer_by_form_can_be_sent_by_its_button(installation: Installation) -> None:
    visitor = Visitor(installation.issuer, tls=installation.tls)
    end = visitor.go(request(installation, public_client(installation), response_mode="form_post"))
    assert (end.method, end.target) == ("POST", "https://app.example.com/cb")
    assert end.parameters.keys() == {"code", "state", "iss"}


@pytest.mark.parametrize(
    "resource",
    ["{issuer}//", "{issuer}/x", "{issuer}/mcp/", "https://localhost"],
    ids=["slashes", "path", "slash after a path", "no port"],
)
def test_one_character_of_a_resource_counts(installation: Installation, resource: str) -> None:
    client = public_client(installation, resources=[installation.issuer, f"{installation.issuer}/mcp"])
    for named in ("", "/", "/mcp"):  # an empty path is written as a slash by clients that parse the address
        right = answer(installation, client, resource=f"{installation.issuer}{named}")
        assert "code" in right
    wrong = answer(installation, client, resource=resource.format(issuer=installation.issuer))
    assert wrong["error"] == "invalid_target"


@pytest.mark.parametrize("path", ["/token/", "/authorize/", "/.well-known/openid-configuration/"])
def test_an_address_with_a_slash_too_many_is_refused_and_never_redirected(
    installation: Installation, path: str
) -> None:
    for method in ("GET", "POST"):
        assert installation.http.request(method, path).status_code == 404


def test_a_client_that_may_rely_on_nonce_needs_no_pkce_and_others_do(installation: Installation) -> None:
    lenient = installation.web_application(require_pkce=False)
    strict = installation.web_application()
    nonce = secrets.token_urlsafe(8)
    without: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None, "nonce": nonce}
    assert "code" in answer(installation, lenient, **without)
    assert answer(installation, strict, **without)["error"] == "invalid_request"


def test_errors_are_told_as_the_protocol_says(installation: Installation) -> None:
    wrong: httpx.Response = installation.http.post(
        "/token", data={"grant_type": "client_credentials"}, auth=("nobody", "nothing")
    )
    assert wrong.status_code == 401
    assert wrong.json()["error"] == "invalid_client"
    assert wrong.headers["www-authenticate"].startswith("Basic")
    assert wrong.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["client_secret_post", "none"])
def test_a_client_that_finds_out_how_to_authenticate_keeps_its_code_and_its_refresh_token(
    installation: Installation, method: str
) -> None:
    # golang.org/x/oauth2 shows its code in a Basic header first, public clients with no secret, and then in the form.
    client = public_client(
        installation, token_endpoint_auth_method=method, scope="openid offline_access orders:read"
    )
    name, secret = client["client_id"], client.get("client_secret") or ""
    own = {"client_id": name} | ({"client_secret": secret} if secret else {})
    given = {
        "grant_type": "authorization_code",
        "code_verifier": VERIFIER,
        "redirect_uri": client["redirect_uris"][0],
    }
    given["code"] = answer(installation, client, scope="openid offline_access")["code"]
    for _ in range(2):
        tried = installation.http.post("/token", data=given, auth=(name, secret))
        assert (tried.status_code, tried.json()["error"]) == (401, "invalid_client")
        got = installation.http.post("/token", data=given | own)
        assert got.status_code == 200, got.text
        given = {"grant_type": "refresh_token", "refresh_token": got.json()["refresh_token"]}


def test_an_id_token_that_is_shown_as_a_credential_says_the_same_after_it_was_renewed(
    installation: Installation,
) -> None:
    # The API server of Kubernetes reads ID tokens and nothing else: RS256, unless it is told what the metadata say.
    client = public_client(installation, scope="openid email offline_access")
    wanted = {"id_token": {"email": None}}
    bought = tokens(installation, client, scope="openid email offline_access", claims=json.dumps(wanted))
    form = {"grant_type": "refresh_token", "client_id": client["client_id"]}
    renewed = installation.http.post("/token", data=form | {"refresh_token": bought["refresh_token"]}).json()
    for token in (bought["id_token"], renewed["id_token"]):
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert (claims["email"], claims["aud"]) == ("ada@example.com", client["client_id"])


def test_the_switch_that_lets_the_server_fetch_from_loopback_is_announced_loudly(
    installation: Installation,
) -> None:
    said = installation.process.log.read_text("utf-8")
    assert "fetch_allow_loopback is set" in said
