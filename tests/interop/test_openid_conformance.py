"""The OpenID Foundation's conformance plans for providers, transcribed: every case is a module of the suite, by its name.

The suite itself is a Java program with a database and a browser of its own. What it sends and what it demands is here; plain
forms are walked like its HtmlUnit does. Modules that a server may leave out are skipped where the suite skips them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.certificates import Pair
from tests.interop import dynamic_modules, fapi_modules, fapi_signed_modules, logout_modules, openid_modules
from tests.interop.fapi_party import Variant, fapi_party
from tests.interop.openid_provider import Provider, provider

from watchword.testing.worker import Worker

BEHIND_A_PROXY = {
    "trusted_proxies": ("127.0.0.1",),
    "client_certificate_header": "Client-Cert",
    "client_certificate_verified_header": "X-Verified",
}
VARIANTS: list[Variant] = [("mtls", "mtls"), ("private_key_jwt", "mtls"), ("mtls", "dpop")]
REFRESH = {"grant_types": ["authorization_code", "refresh_token"]}
METADATA = {
    "oidcc-refresh-token": REFRESH,
    "oidcc-server-client-secret-post": {"token_endpoint_auth_method": "client_secret_post"},
}


@pytest.fixture(scope="module")
def op(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[Pair, Path], auth_worker: Worker
) -> Iterator[Provider]:
    """The provider, which takes certificates of clients from a proxy."""
    folder = tmp_path_factory.mktemp("provider")
    with provider(folder, authority[0], auth_worker, **BEHIND_A_PROXY) as opened:
        yield opened


@pytest.mark.parametrize("response_mode", [None, "form_post"], ids=["basic", "form-post"])
@pytest.mark.parametrize("module", openid_modules.BASIC)
def test_basic_and_form_post(op: Provider, module: str, response_mode: str | None) -> None:
    rp = op.relying_party(response_mode=response_mode, **METADATA.get(module, {}))
    if module == "oidcc-refresh-token":
        rp.other = op.relying_party(**REFRESH)
    openid_modules.BASIC[module](rp)
    assert rp.unregister() == 204


@pytest.mark.parametrize("module", dynamic_modules.DYNAMIC)
def test_dynamic(op: Provider, module: str) -> None:
    dynamic_modules.DYNAMIC[module](op)


@pytest.mark.parametrize("module", logout_modules.LOGOUT)
def test_rp_initiated_and_back_channel_logout(op: Provider, module: str) -> None:
    logout_modules.LOGOUT[module](op)


def test_consent_to_a_stranger_whom_anybody_could_pretend_to_be_is_asked_for_every_time(op: Provider) -> None:
    proven, public = op.relying_party(), op.relying_party(token_endpoint_auth_method="none")
    _, challenge = proven.pkce()
    pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
    for rp in (proven, public):
        rp.code(rp.request(**pkce))
    proven.code(proven.request(prompt="none"))
    public.error(public.request(prompt="none", **pkce), "consent_required")


@pytest.mark.parametrize("module", fapi_modules.FAPI2)
def test_fapi2_security_profile_final(op: Provider, module: str) -> None:
    fapi_modules.FAPI2[module](fapi_party(op))


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
@pytest.mark.parametrize("module", fapi_modules.VARIED)
def test_fapi2_security_profile_final_with_certificates(op: Provider, module: str, variant: Variant) -> None:
    fapi_modules.FAPI2[module](fapi_party(op, variant))


@pytest.mark.parametrize("module", fapi_signed_modules.SIGNED_REQUESTS)
def test_fapi2_message_signing_of_requests(op: Provider, module: str) -> None:
    fapi_signed_modules.SIGNED_REQUESTS[module](fapi_party(op, request_object_signing_alg="ES256"))
