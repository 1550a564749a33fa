"""Apache with mod_auth_openidc against the server: as the provider that signs people in, and as the issuer of an API's tokens."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.fixtures.certificates import Pair
from tests.interop import apache
from tests.interop.apache import Apache
from tests.interop.conftest import Installation
from tests.interop.relying_party import Visitor

pytestmark = pytest.mark.apache


@pytest.fixture(scope="module")
def httpd(installation: Installation, authority: tuple[Pair, Path]) -> Iterator[Apache]:
    """A running Apache."""
    with apache.running(installation, authority[0]) as running:
        yield running


@pytest.fixture
def person(installation: Installation) -> Visitor:
    """A person who is not signed in anywhere."""
    return Visitor(installation.issuer, tls=installation.tls)


def sign_in(httpd: Apache, person: Visitor, application: str) -> httpx.Response:
    """Open a page behind mod_auth_openidc, sign in at the server, come back."""
    httpd.http.cookies.clear()
    asked = httpd.http.get(f"{application}/app/page.txt")
    assert asked.status_code == 302, httpd.log()
    answer = person.go(asked.headers["location"])
    assert "code" in answer.parameters, answer
    if answer.method == "POST":
        back = httpd.http.post(answer.target, data=answer.parameters)
    else:
        back = httpd.http.get(answer.target, params=answer.parameters)
    assert back.status_code == 302, httpd.log()
    return httpd.http.get(back.headers["location"])


def test_it_signs_a_person_in(httpd: Apache, person: Visitor) -> None:
    page = sign_in(httpd, person, httpd.application)
    assert (page.status_code, page.text) == (200, "behind the guard"), httpd.log()
    assert page.headers["x-user"].startswith("ada@example.com")


def test_it_signs_a_person_in_by_form_post(httpd: Apache, person: Visitor) -> None:
    page = sign_in(httpd, person, httpd.by_form)
    assert (page.status_code, page.text) == (200, "behind the guard"), httpd.log()


@pytest.fixture
def api(httpd: Apache, request: pytest.FixtureRequest) -> str:
    """The address of an API that checks tokens in one of the two ways."""
    return str(getattr(httpd, request.param)) + "/orders.txt"


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token}"}


def issued(installation: Installation, scope: str, token_format: str) -> tuple[str, dict[str, str]]:
    """Return an access token of a client, and what the client authenticates with."""
    client = installation.client(scope="orders:read orders:write", access_token_format=token_format)
    proof = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    auth = (proof["client_id"], proof["client_secret"])
    answer = installation.http.post(
        "/token", data={"grant_type": "client_credentials", "scope": scope}, auth=auth
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"], proof


WAYS = [("introspecting", "opaque"), ("introspecting", "jwt"), ("verifying", "jwt")]


@pytest.mark.parametrize(("api", "token_format"), WAYS, indirect=["api"])
def test_it_accepts_access_tokens_and_no_others(
    httpd: Apache, installation: Installation, api: str, token_format: str
) -> None:
    token, proof = issued(installation, "orders:read", token_format)
    accepted = httpd.http.get(api, headers=bearer(token))
    assert (accepted.status_code, accepted.text) == (200, "behind the guard"), httpd.log()
    assert accepted.headers["x-user"].startswith(proof["client_id"])
    narrow, _ = issued(installation, "orders:write", token_format)
    assert httpd.http.get(api, headers=bearer(narrow)).status_code in (401, 403)
    assert httpd.http.get(api).status_code == 401
    assert httpd.http.get(api, headers=bearer(token[:-6] + "AAAAAA")).status_code == 401


@pytest.mark.parametrize(("api", "token_format"), WAYS[:2], indirect=["api"])
def test_it_refuses_what_was_revoked(
    httpd: Apache, installation: Installation, api: str, token_format: str
) -> None:
    token, proof = issued(installation, "orders:read", token_format)
    revoked = installation.http.post("/revoke", data={"token": token}, auth=tuple(proof.values()))  # type: ignore[arg-type]  # two of them
    assert revoked.status_code == 200
    assert httpd.http.get(api, headers=bearer(token)).status_code == 401


def test_it_takes_a_person_out_of_the_server(httpd: Apache, person: Visitor) -> None:
    sign_in(httpd, person, httpd.application)
    left = httpd.http.get(
        f"{httpd.application}/app/callback", params={"logout": f"{httpd.application}/orders.txt"}
    )
    assert left.status_code == 302, httpd.log()
    person.filled["decision"] = "sign_out"
    answer = person.go(left.headers["location"])
    assert answer.target == f"{httpd.application}/orders.txt"
    assert "/sign-in" in person.http.get("/account").headers["location"], "the session is over"
    assert httpd.http.get(f"{httpd.application}/app/page.txt").status_code == 302


def test_it_hears_by_the_back_channel_that_a_person_left(httpd: Apache, person: Visitor) -> None:
    sign_in(httpd, person, httpd.application)
    page = f"{httpd.application}/app/page.txt"
    assert httpd.http.get(page).status_code == 200
    person.filled["decision"] = "sign_out"
    person.walk("/sign-out")
    for _ in range(100):
        if httpd.http.get(page).status_code == 302:
            return
        time.sleep(0.1)
    pytest.fail(f"the session at Apache lives on: {httpd.log()}")
