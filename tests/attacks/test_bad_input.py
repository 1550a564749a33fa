"""Hostile input at every address: always a 4xx in the protocol's words, never a 5xx, never a hang, and still serving after."""

from typing import Any

import pytest
from tests.fixtures.holders import make_holder, refused
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic

from watchword.app.routes import HOT, OPERATIONS, ROUTES
from watchword.flows.client_auth import ASSERTION_TYPE
from watchword.http import MAX_BODY
from watchword.http.operation import BASE
from watchword.jose.jwk import b64encode

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
FORM_PATHS = ["/token", "/introspect", "/revoke"]
HOSTILE_FORMS = {
    "TE-12 two megabytes": b"grant_type=" + b"a" * 2_000_000,
    "TE-12 20,000 fields": b"&".join(b"f%d=1" % number for number in range(20_000)),
    "TE-12 5,000 equal names": b"&".join([b"scope=a"] * 5_000),
    "TE-12 deep brackets": b"a" + b"[" * 10_000 + b"=1",
    "TE-12 percent signs": b"grant_type=" + b"%" * 100_000,
    "TE-12 deep brackets beside what is right": b"grant_type=client_credentials&token=a&a"
    + b"[x]" * 1_000
    + b"=1",
    "TE-12 deep brackets, escaped": b"grant_type=client_credentials&token=a&a" + b"%5B" * 1_000 + b"=1",
    "TE-12 percent signs beside what is right": b"grant_type=client_credentials&token=a&a=" + b"%" * 100_000,
    "TE-12 ampersands": b"&" * 300_000,
    "TE-13 20,000 scopes": b"grant_type=client_credentials&scope="
    + b"+".join(b"s%d" % n for n in range(20_000)),
    "AZ-09 bad UTF-8": b"grant_type=%ff%fe&scope=%ed%a0%80",
    "NUL": b"grant_type=client%00credentials",
    "TE-14 markup and quotes": b"grant_type=%3Cscript%3E%22%27%5C",
    "TE-14 line breaks": b"grant_type=a%0d%0aSet-Cookie:x",
}
HEADERS = {
    "TE-10 bad base64": "Basic !!!!",
    "TE-10 no colon": "Basic bm9jb2xvbg==",
    "TE-10 not UTF-8": "Basic //79/zo=",
    "TE-10 NUL": "Basic AGE6AA==",
    "TE-10 empty": "Basic ",
    "TE-10 only the scheme": "Basic",
    "TE-10 20 kB": "Basic " + "QUFB" * 5_000,
    "TE-10 other scheme": "Digest username=x",
    "TE-10 negotiate": "Negotiate YII",
    "TE-10 bad percent encoding": "Basic YSV6ejolemo=",
    "TE-10 bearer without token": "Bearer ",
    "TE-10 spaces": "Basic    ",
    "TE-10 not ASCII": "Basic \u00e9\u00e9",
}
# Each quotation mark begins a string that goes on to the end: a reader that looked anew from each would take minutes.
UNCLOSED = b'"' + b'\\"' * 120_000 + b"[" * 20
HOSTILE_JSON = {
    "HT-05 100,000 deep": b"[" * 100_000,
    "HT-05 a million digits": b'{"name":' + b"1" * 1_000_000 + b"}",
    "HT-05 a string that nobody closes": UNCLOSED,
    "HT-05 duplicate members": b'{"name":"a","name":"b"}',
    "HT-05 NaN": b'{"name":NaN}',
    "DC-04 lone surrogate": b'{"name":"\\ud800"}',
    "DC-04 NUL": b'{"name":"a\\u0000b"}',
    "DC-04 UTF-16": '{"name":"a"}'.encode("utf-16"),
    "DC-04 wrong type": b"[]",
    "DC-04 not JSON": b"{",
    "empty": b"",
    "DC-04 20,000 members": b"{" + b",".join(b'"m%d":1' % n for n in range(20_000)) + b"}",
}


WITH_BODY = [one for one in OPERATIONS if one.body is not None]


async def still_serves(server: Server) -> None:
    """Show that an honest request is answered."""
    client = await server.client()
    assert (await server.grant(client)).status_code == 200


@in_turn("path", FORM_PATHS)
@in_turn("name", HOSTILE_FORMS)
async def test_a_hostile_form_is_refused(server: Server, path: str, name: str) -> None:
    client = await server.client()
    headers = FORM | {"authorization": basic(client)}
    answer = await server.http.post(path, content=HOSTILE_FORMS[name], headers=headers)
    assert 400 <= answer.status_code < 500, answer.text[:200]
    assert answer.json()["error"] in {
        "invalid_request",
        "invalid_scope",
        "unsupported_grant_type",
    }
    assert "<script" not in answer.text
    assert "\\" not in answer.json()["error_description"]
    await still_serves(server)


@in_turn("path", FORM_PATHS)
@in_turn(
    "sent",
    [
        pytest.param(b"token=a&scope=b&scope=c", id="sent twice"),
        pytest.param(b"token=a&scope=%ff", id="not UTF-8"),
        pytest.param(b"token=a&scope=\xff", id="not UTF-8, unescaped"),
        pytest.param(b"token=a&scope=%00", id="with a NUL"),
        pytest.param(b"token=a&scope=" + b"a" * 200_000, id="too long"),
    ],
)
async def test_what_is_wrong_with_a_form_is_said_of_the_field_at_fault(
    server: Server, path: str, sent: bytes
) -> None:
    headers = FORM | {"authorization": basic(await server.client())}
    answer = await server.http.post(path, content=b"grant_type=client_credentials&" + sent, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.json()["field"] == "scope"


@in_turn("name", [b"%3Cscript%3E", b"a" * 41, b"%0a", b"%00", b"%ff"])
async def test_te_14_what_could_be_no_name_is_not_repeated(server: Server, name: bytes) -> None:
    headers = FORM | {"authorization": basic(await server.client())}
    answer = await server.http.post("/token", content=name + b"=1&" + name + b"=2", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "field" not in answer.json()


@in_turn("path", FORM_PATHS)
@in_turn("name", HEADERS)
async def test_a_malformed_authorization_header_is_refused(server: Server, path: str, name: str) -> None:
    form = {"grant_type": "client_credentials", "token": "x"}
    headers = {"authorization": HEADERS[name].encode("utf-8")}
    answer = await server.http.post(path, data=form, headers=headers)
    assert answer.status_code in (400, 401), answer.text[:200]
    await still_serves(server)


@in_turn("path", FORM_PATHS)
@in_turn(
    "content_type",
    [
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/xml",
        "",
        "application/x-www-form-urlencoded-not",
    ],
)
async def test_te_11_a_body_of_another_type_is_refused(server: Server, path: str, content_type: str) -> None:
    client = await server.client()
    headers = {"authorization": basic(client), "content-type": content_type}
    answer = await server.http.post(path, content=b"grant_type=client_credentials&token=x", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    await still_serves(server)


@in_turn(
    ("content_type", "taken"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("application/jsonl", False),
        ("", False),
    ],
)
async def test_te_11_what_a_form_of_another_site_can_send_is_not_taken_for_json(
    server: Server, content_type: str, taken: bool
) -> None:
    headers = {"content-type": content_type}
    answer = await server.http.post("/zero/challenge", content=b'{"purpose":"sign-in"}', headers=headers)
    if taken:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


@in_turn("operation", WITH_BODY, ids=lambda one: f"{one.method} {one.path}")
@in_turn("name", HOSTILE_JSON)
async def test_hostile_json_is_refused(server: Server, operation: Any, name: str) -> None:
    admin = await server.token(scope="watchword:admin")
    path = BASE + operation.path.replace("{id}", "x").replace("{kid}", "x").replace("{secret_id}", "x")
    headers = JSON | {"authorization": f"Bearer {admin.secret}"}
    answer = await server.http.request(operation.method, path, content=HOSTILE_JSON[name], headers=headers)
    assert 400 <= answer.status_code < 500, answer.text[:200]
    assert answer.json()["error"]
    await still_serves(server)


async def test_ht_05_what_a_stranger_sends_is_looked_at_once(server: Server) -> None:
    challenge = await server.http.post("/zero/challenge", content=b'{"purpose":"sign-in"}', headers=JSON)
    assert challenge.status_code == 200
    for path in ("/zero/challenge", "/zero/renew", "/zero/revoke"):
        answer = await server.http.post(path, content=UNCLOSED, headers=JSON)
        assert answer.status_code == 400, path
    header = b64encode(b'{"alg":"ES256"}')
    for _ in range(20):  # read before anybody's key is looked at
        token = f"{header}.{b64encode(UNCLOSED[:5_900] + b'[' * 20)}.AA"
        form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": token, "token": "x"}
        assert (await server.http.post("/revoke", data=form)).status_code == 401
    await still_serves(server)


async def test_ht_05_the_description_of_the_admin_api_is_made_once_however_often_it_is_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await server.http.get(f"{BASE}/openapi.json")
    assert first.json()["servers"] == [{"url": server.settings.issuer}]
    monkeypatch.delattr("msgspec.json.schema_components")
    again = await server.http.get(f"{BASE}/openapi.json")
    assert (again.status_code, again.content) == (200, first.content)


@in_turn("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_ad_01_no_operation_answers_without_a_token(server: Server, operation: Any) -> None:
    plain = await server.token(scope="orders:read")
    path = BASE + operation.path.replace("{id}", "x").replace("{kid}", "x").replace("{secret_id}", "x")
    body = b"{}" if operation.body is not None else b""
    anonymous = await server.http.request(operation.method, path, content=body, headers=JSON)
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"].startswith("Bearer")
    if operation.scope is not None:
        headers = JSON | {"authorization": f"Bearer {plain.secret}"}
        lacking = await server.http.request(operation.method, path, content=body, headers=headers)
        assert lacking.status_code == 403
        assert operation.scope in lacking.headers["www-authenticate"]


@in_turn("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_an_operation_refuses_a_parameter_that_it_does_not_know(server: Server, operation: Any) -> None:
    admin = await server.token(scope="watchword:admin")
    path = BASE + operation.path.replace("{id}", "x").replace("{kid}", "x").replace("{secret_id}", "x")
    headers = JSON | {"authorization": f"Bearer {admin.secret}"}
    body = b"{}" if operation.body is not None else b""
    answer = await server.http.request(operation.method, f"{path}?surprise=1", content=body, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "surprise")
    honest = await server.http.request(operation.method, path, content=body, headers=headers)
    assert "surprise" not in honest.text


@in_turn("host", ["evil:abc", "a/b?c", "[::1", "", "evil.example@localhost", "a b", "local\u00e9"], ids=repr)
async def test_md_05_a_malformed_host_is_refused(server: Server, host: str) -> None:
    address = "/.well-known/oauth-authorization-server"
    honest = (await server.http.get(address)).json()
    headers = {"host": host.encode("utf-8")}
    answer = await server.http.get(address, headers=headers)
    assert answer.status_code in (400, 421) or answer.json() == honest


@in_turn("host", ["localhost:8000", "auth_server:8000", "[::1]:8000", "10.0.0.7"])
async def test_a_host_is_served_as_whoever_runs_the_server_names_it(server: Server, host: str) -> None:
    """An underscore is what networks of containers put into names; RFC 3986 §3.2.2 allows it."""
    assert (await server.http.get("/readyz", headers={"host": host})).status_code == 200


async def test_md_05_headers_of_a_proxy_that_nobody_trusts_change_nothing(server: Server) -> None:
    address = "/.well-known/oauth-authorization-server"
    honest = (await server.http.get(address)).json()
    headers = {
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "gopher",
        "x-forwarded-prefix": "/evil",
        "forwarded": "host=evil.example",
        "x-original-url": "/evil",
    }
    assert (await server.http.get(address, headers=headers)).json() == honest
    assert honest["issuer"] == server.settings.issuer


@in_turn("path", [path for path in ROUTES if "{" not in path])
async def test_an_unknown_method_is_405_and_names_those_that_work(server: Server, path: str) -> None:
    answer = await server.http.request("PATCH", path)
    assert answer.status_code == 405
    assert answer.headers["allow"]


async def test_credential_headers_sent_twice_are_refused(server: Server) -> None:
    client = await server.client()
    headers = [("authorization", basic(client)), ("authorization", basic(client))]
    answer = await server.http.post("/token", data={"grant_type": "client_credentials"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), "UI-03"
    await still_serves(server)


@in_turn(("method", "path"), sorted(HOT))
async def test_ht_05_a_body_over_the_limit_is_refused_however_the_request_comes(
    server: Server, method: str, path: str
) -> None:
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"method": method, "path": path, "query_string": b"", "headers": headers, "scheme": "http"}
    respond = server.app.prepare(scope)
    assert respond is not None
    fitting = b"a=" + b"b" * (MAX_BODY - 2)
    for body, too_large in ((fitting, False), (fitting + b"b", True)):
        kept, _, _ = await respond(body)
        sent = await server.http.request(method, path, content=body, headers=headers)
        assert kept == sent.status_code
        assert ("is too large" in sent.text) == too_large
        if too_large:
            assert kept == (413 if path.startswith("/api/") else 400), "RFC 6749 §5.2"


OVERSIZED = {
    ("POST", "/token"): (400, "invalid_request"),
    ("POST", "/introspect"): (400, "invalid_request"),
    ("POST", "/revoke"): (400, "invalid_request"),
    ("POST", "/device_authorization"): (400, "invalid_request"),
    ("POST", "/par"): (413, "invalid_request"),  # RFC 9126 §2.3
    ("POST", "/register"): (400, "invalid_client_metadata"),
    ("PUT", "/register/client_x"): (400, "invalid_client_metadata"),
    ("POST", "/userinfo"): (413, "invalid_request"),
    ("POST", "/api/v1/clients"): (413, "invalid_request"),
}


@pytest.mark.parametrize(("method", "path"), OVERSIZED)
async def test_dc_04_a_body_over_the_limit_is_refused_in_the_words_of_its_specification(
    server: Server, method: str, path: str
) -> None:
    answer = await server.http.request(method, path, content=b'{"a":"' + b"a" * 1_000_000 + b'"}')
    assert (answer.status_code, answer.json()["error"]) == OVERSIZED[method, path]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_session_cookie_sent_twice_is_none(server: Server) -> None:
    """One of them may have been set by a neighbouring subdomain; which comes first says nothing."""
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    ((name, own),) = [(name, value) for name, value in server.http.cookies.items() if "session" in name]
    server.http.cookies.clear()
    for cookies, signed_in in (
        (f"{name}={own}", True),
        (f"a=1; {name}={own}; b=2", True),
        (f"{name}={own}; {name}=x", False),
        (f"{name}=x; {name}={own}", False),
    ):
        answer = await server.http.get("/account", headers={"cookie": cookies})
        assert (answer.status_code == 200) is signed_in, cookies


async def test_lgx_3_a_failure_inside_says_nothing_of_itself(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await server.client()

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail of the inside")

    monkeypatch.setattr(server.runtime.keyring, "signing_key", broken)
    answer = await server.grant(client)
    assert answer.status_code == 500
    assert answer.json()["error"] == "server_error"
    assert "secret detail" not in answer.text
    assert "reference" in answer.json()["error_description"]
