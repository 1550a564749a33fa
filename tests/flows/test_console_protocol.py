"""The console's form for all that an application is by the protocols' own names: what the admin API takes, by the same rules."""

import asyncio
import json
from collections.abc import Mapping

import pytest
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.flows.clients.client_metadata import ClientInput
from watchword.jose import jwk
from watchword.oauth.clients import Client
from watchword.pages.console import client_forms, client_protocol
from watchword.store import clients

__all__ = ["admin", "server"]
CALLBACK = "https://app.example.com/back"
KEYS = {"keys": [jwk.public_document(jwk.generate("ES256", "k1"))]}


async def stored(server: Server, client_id: str) -> Client:
    found = await server.runtime.database.read(clients.find_client, client_id)
    assert found is not None
    return found.client


async def opened(admin: Person, **more: object) -> tuple[str, dict[str, str]]:
    """Open the form of an application, and return its address with all that it shows, as a browser would send it."""
    made = await admin.server.client(
        name="Shop", redirect_uris=[CALLBACK], grant_types=["authorization_code", "refresh_token"], **more
    )
    page = f"/console/clients/{made.client.client_id}/protocol"
    await admin.open(page)
    shown = client_protocol.kept(await stored(admin.server, made.client.client_id))
    form = {
        name: "yes" if value is True else str(value) for name, value in shown.items() if value is not False
    }
    return page, {**form, **admin.form(having="version"), "": ""}


async def send(admin: Person, page: str, form: Mapping[str, str]) -> int:
    sent = {name: value for name, value in form.items() if name}
    admin.page = await admin.http.post(page, data=sent)
    return admin.page.status_code


def test_the_forms_have_everything_that_the_admin_api_takes() -> None:
    here = {*client_protocol.FIELDS, *client_forms.TEXTS, "resources"}
    assert set(ClientInput.__struct_fields__) - here == set()


async def test_a_form_that_is_sent_as_it_was_shown_changes_nothing(admin: Person) -> None:
    page, form = await opened(
        admin, access_token_lifetime=60, dpop_bound_access_tokens=True, jwks=KEYS, subject_type="pairwise",
        backchannel_logout_uri="https://app.example.com/out", require_pushed_authorization_requests=True,
    )  # fmt: skip
    client_id = page.split("/")[3]
    before = await stored(admin.server, client_id)
    assert await send(admin, page, form) == 303
    assert await stored(admin.server, client_id) == before


async def test_keys_lifetime_and_profile_are_changed(admin: Person) -> None:
    page, form = await opened(admin)
    given = {
        **form, "token_endpoint_auth_method": "private_key_jwt", "jwks": json.dumps(KEYS), "security_profile": "fapi2", "access_token_lifetime": "120",
        "require_pkce": "yes",
    }  # fmt: skip
    assert await send(admin, page, given) == 303
    after = await stored(admin.server, page.split("/")[3])
    assert (after.security_profile, after.access_token_lifetime) == ("fapi2", 120)
    assert after.require_pushed_authorization_requests
    assert after.jwks is not None
    assert after.redirect_uris == (CALLBACK,)
    assert after.name == "Shop"


@in_turn(
    ("given", "field", "said"),
    [
        pytest.param({"jwks": "{"}, "jwks", "This isn’t JSON.", id="keys that are no JSON"),
        pytest.param({"jwks": '{"keys": [], "keys": []}'}, "jwks", "This isn’t JSON.", id="keys with a name twice"),
        pytest.param({"jwks": '{"keys": []}', "jwks_uri": "https://app.example.com/k"}, "jwks", "not both", id="keys twice"),
        pytest.param({"jwks_uri": "http://app.example.com/k"}, "jwks_uri", "must be an https address", id="keys from an open address"),
        pytest.param({"access_token_lifetime": "4"}, "access_token_lifetime", "must be 5 at least", id="too short a life"),
        pytest.param({"access_token_lifetime": "x"}, "access_token_lifetime", "can’t be used", id="a life that is no number"),
        pytest.param({"grant_types": "telepathy"}, "grant_types", "The grant types are", id="an unknown grant"),
        pytest.param({"security_profile": "fapi2"}, "token_endpoint_auth_method", "FAPI 2.0 asks for", id="a profile that its method does not do"),
        pytest.param({"security_profile": "x"}, "security_profile", "must be one of default, fapi2", id="an unknown profile"),
        pytest.param({"tls_client_auth_subject": "dn CN=x"}, "tls_client_auth_subject", "Name subject_dn", id="another kind of subject"),
        pytest.param({"tls_client_auth_subject": "dn"}, "tls_client_auth_subject", "at least 2 entries", id="half a subject"),
        pytest.param({"token_exchange": "[]"}, "token_exchange", "not have the expected form", id="rules that are none"),
        pytest.param({"backchannel_logout_uri": "http://x"}, "backchannel_logout_uri", "must be an https address", id="an open address to tell"),
    ],
)  # fmt: skip
async def test_a_refusal_stands_beside_its_field_and_changes_nothing(
    admin: Person, given: dict[str, str], field: str, said: str
) -> None:
    page, form = await opened(admin)
    assert await send(admin, page, {**form, **given}) == 400
    assert admin.page is not None
    assert f'id="{field}-error"' in admin.page.text
    assert said in admin.text
    assert (await stored(admin.server, page.split("/")[3])).version == 1


async def test_ad_09_of_two_changes_of_the_protocol_at_once_one_is_made(admin: Person) -> None:
    page, form = await opened(admin)
    sent = {name: value for name, value in form.items() if name}
    answers = await asyncio.gather(
        *(admin.http.post(page, data={**sent, "access_token_lifetime": seconds}) for seconds in ("60", "90"))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
