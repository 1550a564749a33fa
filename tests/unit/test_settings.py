"""Options that cannot be meant stop the start, and the message says what to write in their place."""

from pathlib import Path
from urllib.parse import quote

import pytest
from tests.fixtures.rows import in_turn

from watchword.settings import SettingsError, check_exposure, load, with_issuer

UPSTREAM = {"name": "acme", "title": "Acme", "client_id": "x", "kind": "saml"}
REFUSED: dict[str, tuple[str, object, str]] = {
    "a word that is not known": ("log_level", "trace", "instead of debug or error or info or warning"),
    "one of a list": ("signing_algorithms", ["ES256", "HS256"], "instead of ES256 or EdDSA or RS256"),
    "one of a table": ("token_formats", {"https://api.example.com": "saml"}, "instead of jwt or opaque"),
    "one within a table of a list": ("upstream", [UPSTREAM], "instead of apple or github or openid"),
    "one that may be left out": (
        "upstream", [UPSTREAM | {"kind": "openid", "auth": "none"}], "instead of client_secret_basic or client_secret_post"
    ),
    "a line feed after a provider's name": (
        "upstream", [UPSTREAM | {"kind": "openid", "name": "acme\n", "issuer": "https://acme.example"}], "upstream.*name"
    ),
    "a proxy's IPv4 network in IPv6 notation": (
        "trusted_proxies", ["::ffff:10.0.0.0/104"], "'::ffff:10.0.0.0/104' is an IPv4 network: write 10.0.0.0/8"
    ),
    "a provider's IPv4 address in IPv6 notation": (
        "upstream",
        [UPSTREAM | {"kind": "openid", "issuer": "https://acme.example", "networks": ["::ffff:10.0.0.7"]}],
        "upstream 'acme': networks: .* write 10.0.0.7/32",
    ),
    "a provider's host as an address": (
        "upstream", [UPSTREAM | {"kind": "openid", "issuer": "https://acme.example", "hosts": ["https://keys.acme.example"]}],
        "upstream 'acme': hosts: 'https://keys.acme.example' is not the name of a host"
    ),
    "a proxy's address with a zone": ("trusted_proxies", ["fe80::1%eth0"], "'fe80::1%eth0' is not an IP address or network"),
    "a scope with a space": ("scopes", {"orders read": {"sentence": "See orders"}}, "scopes: 'orders read' is not a valid scope"),
    "a word within one of several scopes": (
        "scopes", {"read": {}, "orders:write": {"risk": "great"}},
        r"^scopes\['orders:write'\]\.risk is not valid: .*'great', instead of elevated or high or low$"
    ),
    "a text in one of several languages": (
        "authorization_details", {"pay": {"sentence": "Pay", "labels": {"to": {"en": "To", "de": 5}}}},
        r"^authorization_details\['pay'\]\.labels\['to'\]\['de'\] is not valid: .*str"
    ),
    "a slip within one of several scopes": (
        "scopes", {"read": {}, "orders:write": {"sentense": "x"}}, r"^scopes\['orders:write'\] is not valid: .*`sentense`"
    ),
    "a scope with a quote": ("self_registered_scopes", ['"x"'], "self_registered_scopes: '\"x\"' is not a valid scope"),
    "an audience with a fragment": ("default_resource", "https://api.example.com#x", "default_resource: .* is not an absolute URI"),
    "an API that is no address": ("status_lists", ["orders"], "status_lists: 'orders' is not an absolute URI"),
    "an API with a space": ("self_registered_resources", ["https://a b"], "self_registered_resources: .* is not an absolute URI"),
    "an API with half of brackets": ("default_resource", "https://[::1", "default_resource: .* is not an absolute URI"),
    "an API without a host": ("resources", {"https:///orders": "Orders"}, "resources: .* is not an absolute URI"),
    "an API at no port": ("resources", {"https://api.example.com:99999": "Orders"}, "resources: .* is not an absolute URI"),
    "no host behind a comma": ("database", "postgresql://u:p@db1:5432,/ww", "no host name before, between or after its commas"),
    "a port without a host": ("database", "postgresql://u@db1,:5433/ww", "no host name before, between or after its commas"),
    "no host between the commas of a query": ("database", "postgresql:///ww?host=db1,,db2", "no host name before, between or after its commas"),
    "a password with an @ for the database": ("database", "postgresql://u:XQ@ZJ@db1/ww", "^database cannot .* @ as %40, [^XQZJ]*$"),
    "a password with an & in the query": ("database", "postgresql:///ww?password=XQ&ZJ", "^database cannot .* & as %26, [^XQZJ]*$"),
    "a mail server at no port": ("smtp_url", "smtp://mail.example.com:99999", "smtp_url: a port is a number from 1 to 65535"),
    "a mail server without a host": ("smtp_url", "smtp://:587", "smtp_url names one host"),
    "two mail servers": ("smtp_url", "smtp://me:p,w@a.example:25,b.example:26", "smtp_url names one host"),
    "a mail server at a port of many digits": ("smtp_url", f"smtp://h:{'9' * 5000}", "smtp_url: a port is a number from 1 to 65535$"),
    "a mail server without slashes": ("smtp_url", "smtp:mail.example.com", "smtp_url must be smtp://"),
    "the format of no API": ("token_formats", {"orders": "jwt"}, "token_formats: 'orders' is not an absolute URI"),
    "a database whose name is too long": ("database", "x" * 300, "database: cannot look for x+: File name too long"),
    "a database below a file": ("database", f"{__file__}/db", "database: cannot look for .*: Not a directory"),
    "a database server by its kind only": ("database", "postgres", "^database: postgres is no address, and no file .*such as watchword.db or ./"),
    "a file by a scheme without slashes": ("database", "sqlite:w.db", "^database: sqlite:… lacks its //"),
    "a server by a scheme without slashes": ("database", "postgresql:u:ZZ@db1/ww", "^database: postgresql:… lacks its //[^Z]*$"),
    "a folder as the database": ("database", "/", "database: / is a folder: name a file in it"),
    "a key file whose name no file can have": ("key_file", "key\0", "key_file: cannot look for .*: .*embedded null"),
    "a member that is a list of none": (
        "authorization_details", {"pay": {"sentence": "Pay", "members": {"to": []}}}, "pay.members.to must be one of"
    ),
    "the name of no API": ("resources", {"orders": "Orders"}, "resources: 'orders' is not an absolute URI"),
    "a word for the key of a table": (
        "authorization_details", {"pay": {"sentence": "Pay", "allowed": {"verbs": ["pay"]}}},
        r"^authorization_details\['pay'\]\.allowed is not valid: .*'verbs', instead of actions or datatypes or locations or privileges$"
    ),
    "a document's host as an address": ("client_document_hosts", ["https://apps.example.com"], "client_document_hosts: 'https://.*' is not the name of a host"),
    "a document's host with capitals": ("client_document_hosts", ["Apps.Example.com"], "client_document_hosts: 'Apps.Example.com' is not .*in lower case"),
    "a document's host with a port": ("client_document_hosts", ["apps.example.com:8443"], "client_document_hosts: .* without a port"),
    "a scheme that browsers run": ("private_schemes", ["cursor", "javascript"], "private_schemes: 'javascript' is not a scheme of a program"),
    "a scheme in capitals": ("private_schemes", ["MyApp"], "private_schemes: 'MyApp' .* in lower case"),
    "a scheme with its colon": ("private_schemes", ["myapp:"], "private_schemes: 'myapp:' "),
    "any host of a domain": ("client_document_hosts", ["*.example.com"], "client_document_hosts: .* is not the name of a host"),
    "another address with half of brackets": ("mtls_address", "https://][", "^mtls_address must be an https address"),
    "another address without a host": ("mtls_address", "https://:1", "^mtls_address must be an https address"),
    "another address at no port": ("mtls_address", "https://m.example:99999", "^mtls_address must be an https address"),
    "a duration with its unit": ("session_idle", "12h", "^session_idle is not valid: .*`str`: write a number; durations are in seconds$"),
    "a list of one as a text": ("sign_in_methods", "passkey", "^sign_in_methods is not valid: .*`str`: write a list"),
    "a wait for the database that SQLite takes for none": ("database_timeout", 2_592_000, "database_timeout is not valid: .* <= 86400"),
}  # fmt: skip


@in_turn(("option", "value", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_the_start_is_refused_for(option: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load({option: value}, {})


@pytest.mark.parametrize(
    "name", ["w.db", "data/w", "./postgres", "sqlite:///./sqlite:w.db", "there", "postgres:there"]
)
def test_a_file_may_have_any_name_that_is_no_mistyped_address_and_an_existing_one_any(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for existing in ("there", "postgres:there"):
        Path(existing).touch()
    assert load({"database": name}, {}).database == name.removeprefix("sqlite:///")


A = "https://auth.example.com"
TLS = {"tls_cert": "c.pem", "tls_key": "k.pem"}
MAIL = {"smtp_url": "smtp://mail.example.com", "mail_from": "a@b.example"}
POSTGRES = {"database": "postgresql://u@db1/ww"}
PUBLIC = {"host": "0.0.0.0"}
OPENID = UPSTREAM | {"kind": "openid", "issuer": "https://acme.example"}
GITHUB = UPSTREAM | {"kind": "github", "name": "github"}
REPLICA = "postgresql://u@db2/ww"
# what is taken, what is refused in its place, and the words of the refusal
TOGETHER: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "a database of another kind": (POSTGRES, {"database": "mysql://u@db1/ww"}, "^database is the path of an SQLite file"),
    "a certificate without its key": (TLS, {"tls_cert": "c.pem"}, "give both or neither"),
    "a key without its certificate": (TLS, {"tls_key": "k.pem"}, "give both or neither"),
    "clients' certificates without TLS": (TLS | {"tls_client_self_signed": True}, {"tls_client_self_signed": True}, "need tls_cert"),
    "an authority for certificates without TLS": (TLS | {"tls_client_ca": "ca.pem"}, {"tls_client_ca": "ca.pem"}, "need tls_cert"),
    "certificates from headers of anybody": (
        {"client_certificate_header": "x-cert", "trusted_proxies": ["10.0.0.1"]}, {"client_certificate_header": "x-cert"}, "needs trusted_proxies"
    ),
    "the word of a proxy on no certificate": (
        {"client_certificate_header": "x-cert", "client_certificate_verified_header": "x-ok", "trusted_proxies": ["10.0.0.1"]},
        {"client_certificate_verified_header": "x-ok", "trusted_proxies": ["10.0.0.1"]},
        "^client_certificate_verified_header needs client_certificate_header"
    ),
    "certificates from a header that none can be": (
        {"client_certificate_header": "x-cert", "trusted_proxies": ["10.0.0.1"]},
        {"client_certificate_header": "x-cert:", "trusted_proxies": ["10.0.0.1"]},
        "^client_certificate_header is the name of a header"
    ),
    "certificates without TLS at another address": ({"mtls_address": "https://m.example:8443/x"}, {"mtls_address": "http://m.example"}, "^mtls_address"),
    "another address with a slash at its end": ({"mtls_address": "https://m.example"}, {"mtls_address": "https://m.example/"}, "^mtls_address"),
    "a brand with a capital": ({"brand": "ac"}, {"brand": "Ac"}, "^brand must be 2 to 10 lower-case letters or digits"),
    "a brand of one letter": ({"brand": "a2"}, {"brand": "a"}, "^brand"),
    "a brand of eleven letters": ({"brand": "a" * 10}, {"brand": "a" * 11}, "^brand"),
    "a replica of a file": (POSTGRES | {"database_replica": REPLICA}, {"database_replica": REPLICA}, "^database_replica names a standby"),
    "a replica that is a file": (
        POSTGRES | {"database_replica": "postgres://u@db2/ww"}, POSTGRES | {"database_replica": "ww.db"}, "^database_replica names a standby"
    ),
    "tokens that live longer than any may": (
        {"api_token_lifetime": 3600, "api_token_max_lifetime": 3600}, {"api_token_lifetime": 3601, "api_token_max_lifetime": 3600}, "must not exceed"
    ),
    "no algorithm": ({"signing_algorithms": ["ES256"]}, {"signing_algorithms": []}, "^signing_algorithms must name"),
    "power for whoever registers": (
        {"self_registered_scopes": ["orders:read"]}, {"self_registered_scopes": ["orders:read", "watchword:users:read"]}, "'watchword:users:read' is a scope over this server"
    ),
    "introspection for whoever registers": (
        {"self_registered_scopes": ["introspection"]}, {"self_registered_scopes": ["introspect"]}, "'introspect' is a scope over this server"
    ),
    "a mail server without a sender": (MAIL, {"smtp_url": MAIL["smtp_url"]}, "^smtp_url and mail_from belong together"),
    "a sender without a mail server": (MAIL, {"mail_from": MAIL["mail_from"]}, "^smtp_url and mail_from belong together"),
    "a sender that is no address": (MAIL | {"mail_from": '"Acme, Inc." <a@b.example>'}, MAIL | {"mail_from": "Acme"}, "^mail_from is one address"),
    "a sender beyond ASCII": (MAIL | {"mail_from": "Ä <a@xn--b-0fa.example>"}, MAIL | {"mail_from": "a@bä.example"}, "^mail_from is one address"),
    "a group of senders": (MAIL | {"mail_from": "Acme. <a@b.example>"}, MAIL | {"mail_from": "Acme: <a@b.example>"}, "^mail_from is one address"),
    "a sender with brackets": (MAIL | {"mail_from": '"Acme [x] (y)." <a@b.example>'}, MAIL | {"mail_from": "Acme [x] <a@b.example>"}, "^mail_from is one address"),
    "a sender with half of a comment": (MAIL | {"mail_from": "A-c'me <a@b.example>"}, MAIL | {"mail_from": "Acme (x <a@b.example>"}, "^mail_from is one address"),
    "a sender with a dot before the address": (MAIL | {"mail_from": "A.c.me. <a@b.example>"}, MAIL | {"mail_from": "Acme.<a@b.example>"}, "^mail_from is one address"),
    "a sender that begins with a dot": (MAIL | {"mail_from": "a.b@b.example"}, MAIL | {"mail_from": " .Acme <a@b.example>"}, "^mail_from is one address"),
    "a sender with a dot too many": (MAIL | {"mail_from": "a.b@b.example"}, MAIL | {"mail_from": "a.@b.example"}, "^mail_from is one address"),
    "a sender with a line end": (MAIL | {"mail_from": "<a@b.example>"}, MAIL | {"mail_from": "Acme\n <a@b.example>"}, "^mail_from is one address"),
    "two senders": (MAIL | {"mail_from": "Acme <a@b.example>"}, MAIL | {"mail_from": "a@b.example, c@d.example"}, "^mail_from is one address"),
    "a mail server over the web": (MAIL | {"smtp_url": "smtps://m.example"}, MAIL | {"smtp_url": "https://m.example"}, "^smtp_url must be smtp://"),
    "no way to sign in": ({"sign_in_methods": [], "upstream": [OPENID]}, {"sign_in_methods": []}, "^sign_in_methods must leave"),
    "two providers of one name": ({"upstream": [OPENID, GITHUB]}, {"upstream": [OPENID, GITHUB | {"name": "acme"}]}, "a different name"),
    "a provider without the scope of OpenID": ({"upstream": [OPENID]}, {"upstream": [OPENID | {"scopes": ["email"]}]}, "scopes must include openid"),
    "GitHub with an issuer": ({"upstream": [GITHUB]}, {"upstream": [GITHUB | {"issuer": "https://github.com"}]}, "'github': give an issuer for an OpenID"),
    "GitHub answering with a form": ({"upstream": [GITHUB]}, {"upstream": [GITHUB | {"response_mode": "form_post"}]}, "does not support response_mode"),
    "GitHub telling when": ({"upstream": [GITHUB]}, {"upstream": [GITHUB | {"tells_auth_time": True}]}, "leave tells_auth_time out"),
    "an issuer in the clear": ({"issuer": "http://[::1]:8000"}, {"issuer": "http://auth.example.com"}, "must use https unless it is on a loopback"),
    "an issuer with a slash at its end": ({"issuer": f"{A}/tenant"}, {"issuer": f"{A}/tenant/"}, f"slash: .* use '{A}/tenant'$"),
    "an issuer with a step back": ({"issuer": f"{A}/a.b/..c"}, {"issuer": f"{A}/a/../b"}, "^issuer: .* and not . or ..$"),
    "an issuer with an escape": ({"issuer": f"{A}/a~b"}, {"issuer": f"{A}/a%20b"}, "^issuer: its path"),
    "an issuer with an empty step": ({"issuer": f"{A}/a/b"}, {"issuer": f"{A}/a//b"}, "^issuer: its path"),
    "an issuer of many steps": ({"issuer": A + "/a" * 7}, {"issuer": A + "/a" * 8}, "^issuer: its path may have up to seven parts"),
    "an issuer at port 0": ({"issuer": f"{A}:1"}, {"issuer": f"{A}:0"}, "^issuer is not a valid address"),
    "an issuer with a query": ({"issuer": A}, {"issuer": f"{A}?x=1"}, "no query, fragment or user information"),
    "an issuer with an empty query": ({"issuer": A}, {"issuer": f"{A}?"}, "no query, fragment or user information"),
    "an issuer with a fragment": ({"issuer": A}, {"issuer": f"{A}#x"}, "no query, fragment or user information"),
    "an issuer with an empty fragment": ({"issuer": A}, {"issuer": f"{A}#"}, "no query, fragment or user information"),
    "an issuer with a user": ({"issuer": A}, {"issuer": "https://me@auth.example.com"}, "no query, fragment or user information"),
    "an issuer beyond ASCII": ({"issuer": A}, {"issuer": "https://äuth.example.com"}, "^issuer has a character"),
    "an issuer with a space": ({"issuer": A}, {"issuer": f"{A}/a b"}, "^issuer has a character"),
    "an issuer with a quote": ({"issuer": A}, {"issuer": f'{A}/"'}, "^issuer has a character"),
    "an issuer that is no web address": ({"issuer": A}, {"issuer": "ftp://auth.example.com"}, "^issuer must be an address"),
    "an issuer without a host": ({"issuer": A}, {"issuer": "https://"}, "^issuer must be an address"),
    "an issuer at no port": ({"issuer": f"{A}:8443"}, {"issuer": f"{A}:99999"}, "^issuer is not a valid address"),
    "an issuer with half of brackets": ({"issuer": "https://[::1]"}, {"issuer": "https://[::1"}, "^issuer is not a valid address"),
    "an issuer with capitals": ({"issuer": f"{A}/Tenant"}, {"issuer": "https://Auth.Example.com/Tenant"}, f"as browsers write it.*; use '{A}/Tenant'$"),
    "an issuer whose scheme has capitals": ({"issuer": A}, {"issuer": "HTTPS://auth.example.com"}, f"as browsers write it.*; use '{A}'$"),
    "an issuer at the default port": ({"issuer": f"{A}:444"}, {"issuer": f"{A}:443"}, f"as browsers write it.*; use '{A}'$"),
    "an issuer on this machine at the default port": (
        {"issuer": "http://localhost:443"}, {"issuer": "http://localhost:80"}, "as browsers write it.*; use 'http://localhost'$"
    ),
    "plain HTTP for others": (PUBLIC | TLS, PUBLIC, "^refusing plain HTTP on 0.0.0.0: give --tls-cert and --tls-key, or --behind-tls-proxy"),
    "development for others": (PUBLIC | TLS | {"mode": "development"}, PUBLIC | {"mode": "development"}, "serves loopback addresses only"),
    "a proxy whose address nobody named": (
        PUBLIC | {"behind_tls_proxy": True, "issuer": A}, PUBLIC | {"behind_tls_proxy": True}, "the issuer is an https address"
    ),
    "a second step that nobody can set up": (
        {"second_factor_required": "always", "second_factors": ["totp"]}, {"second_factor_required": "always", "second_factors": []},
        "^second_factor_required needs a factor that people can set up: add passkey, totp, or email_code with smtp_url"
    ),
    "a second step by recovery codes alone": (
        {"second_factor_required": "never", "second_factors": ["recovery_code"]},
        {"second_factor_required": "administrators", "second_factors": ["recovery_code"]},
        "^second_factor_required needs"
    ),
    "a second step by mail that is not sent": (
        MAIL | {"second_factor_required": "always", "second_factors": ["email_code"]},
        {"second_factor_required": "always", "second_factors": ["email_code"]},
        "^second_factor_required needs"
    ),
    "devices that ask when their code has ended": (
        {"device_code_lifetime": 61, "device_poll_interval": 60}, {"device_code_lifetime": 60, "device_poll_interval": 60},
        "^device_poll_interval must be shorter than device_code_lifetime"
    ),
    "open sign-up without mail": (MAIL | {"sign_up": "open"}, {"sign_up": "open"}, "^open sign-up confirms addresses by mail"),
}  # fmt: skip


@in_turn(("taken", "refused", "words"), TOGETHER.values(), ids=TOGETHER.keys())
def test_the_start_is_refused_for_what_is_not_safe_together(
    taken: dict[str, object], refused: dict[str, object], words: str
) -> None:
    check_exposure(load(taken, {}))
    with pytest.raises(SettingsError, match=words):
        check_exposure(load(refused, {}))


@pytest.mark.parametrize(
    ("given", "issuer"),
    [
        ({}, "http://localhost:8000"),
        ({"port": 80}, "http://localhost"),
        (TLS | {"port": 443}, "https://localhost"),
        (TLS | {"port": 80}, "https://localhost:80"),
        (TLS | {"host": "::", "port": 8443}, "https://[::]:8443"),
        (TLS | {"host": "Auth.Example.com", "port": 443}, A),
    ],
)
def test_the_issuer_is_where_the_server_listens_as_browsers_write_it(
    given: dict[str, object], issuer: str
) -> None:
    assert with_issuer(load(given, {})).issuer == issuer
    assert with_issuer(load(given, {}), "https://known.example").issuer == "https://known.example"
    with pytest.raises(SettingsError, match=r"^issuer must not end with a slash"):
        with_issuer(load(given, {}), "https://known.example/")


TORN = ("XQ/ZJ", "71/86", "XQ?ZJ", "71?86", "XQ#ZJ", "71#86", "[XQZJ", "XQ]ZJ")


@pytest.mark.parametrize("password", TORN)
@pytest.mark.parametrize(
    ("option", "rest"),
    [
        ("database", "db1,db2:5432/ww"),
        ("database_replica", "db1,db2/ww"),
        ("smtp_url", "mail.example.com:587"),
    ],
)
def test_a_password_that_would_end_its_address_is_refused_and_no_part_of_it_shown(
    option: str, rest: str, password: str
) -> None:
    def address(word: str) -> str:
        return f"{'smtp' if option == 'smtp_url' else 'postgresql'}://u:{word}@{rest}?option=x"

    given = {
        "database": "postgresql://u:p@db1/ww",
        "smtp_url": "smtp://mail.example.com",
        "mail_from": "a@b.example",
    }
    load(given | {option: address(quote(password, safe=""))}, {})
    with pytest.raises(
        SettingsError, match=f"^{option} cannot be read as an address: .* @ as %40"
    ) as refused:
        load(given | {option: address(password)}, {})
    assert not any(part in str(refused.value) for part in ("XQ", "ZJ", "71", "86"))


def test_what_can_be_meant_is_taken() -> None:
    load(
        {
            "scopes": {
                "orders:read": {"sentence": "See orders"},
                "https://api.example.com/all": {"risk": "high"},
            },
            "default_resource": "https://api.example.com",
            "status_lists": ["urn:example:orders"],
            "token_formats": {"https://api.example.com/v1/": "opaque"},
            "log_level": "debug",
            "trusted_proxies": ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "::/0"],
            "upstream": [
                UPSTREAM | {"kind": "openid", "issuer": "https://acme.example", "networks": ["10.0.0.7"]}
            ],
            "database": "postgresql://u:p,w@db1:5432,[::1]:5433/ww",
            "database_replica": "postgresql:///ww?host=/run/postgresql&user=me@corp&password=p%26w",
            "smtp_url": "smtps://me@example.com:p,@w@[::1]:465",
            "mail_from": "auth@example.com",
        },
        {},
    )


@pytest.mark.parametrize(
    ("address", "file"), [("sqlite:///w.db", "w.db"), ("sqlite:////srv/w.db", "/srv/w.db"), ("w.db", "w.db")]
)
def test_an_sqlite_file_may_be_named_as_for_a_move(address: str, file: str) -> None:
    assert load({"database": address}, {}).database == file
    assert load(environ={"WATCHWORD_DATABASE": address}).database == file


def test_an_unknown_variable_is_named_as_it_was_set() -> None:
    with pytest.raises(SettingsError, match=r"'worker' in WATCHWORD_WORKER: did you mean 'workers'\?"):
        load(environ={"WATCHWORD_WORKER": "2"})


@pytest.mark.parametrize(
    ("file", "environ", "words"),
    [
        (b"port = 8000", {"WATCHWORD_PORT": "8000"}, ""),
        (b"port = " + b"9" * 5000, {}, "watchword.toml is not valid TOML"),
        (b"scopes = " + b"[" * 5000, {}, "watchword.toml is not valid TOML"),
        (b"brand = '\xff'", {}, "watchword.toml is not valid TOML"),
        (b"", {"WATCHWORD_SCOPES": "[" * 50_000}, "WATCHWORD_SCOPES is not valid JSON"),
        (b"", {"WATCHWORD_PORT": "\udcff"}, "^port is not valid: it is not text"),
        (b"", {"WATCHWORD_CLIENT_DOCUMENT_HOSTS": "\udcff"}, "^client_document_hosts"),
        (b"", {"WATCHWORD_SECOND_FACTORS": '["\udcff"]'}, "^second_factors is not valid: it is not text"),
        (b"", {"WATCHWORD_HELP_URL": "https://a.example/\udcff"}, "^help_url is not valid: it is not text"),
    ],
    ids=[
        "what is right",
        "a long number",
        "a deep list",
        "not UTF-8",
        "deep JSON",
        "bytes for a number",
        "bytes for a host",
        "bytes in JSON",
        "bytes for an address",
    ],
)
def test_what_no_reader_takes_is_refused_in_words(
    tmp_path: Path, file: bytes, environ: dict[str, str], words: str
) -> None:
    path = tmp_path / "watchword.toml"
    path.write_bytes(file)
    if not words:
        assert load(environ=environ, config=str(path)).port == 8000
        return
    with pytest.raises(SettingsError, match=words):
        load(environ=environ, config=str(path))


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_variable_switches_no_second_step_off(value: str) -> None:
    assert load(environ={"WATCHWORD_SECOND_FACTORS": "[]"}).second_factors == ()
    assert load(environ={"WATCHWORD_TRUSTED_PROXIES": value}).trusted_proxies == ()
    with pytest.raises(
        SettingsError, match=r"^WATCHWORD_SECOND_FACTORS is empty: write \[\] for none, or leave it out"
    ):
        load(environ={"WATCHWORD_SECOND_FACTORS": value})
