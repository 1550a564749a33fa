"""Options that cannot be meant stop the start, and the message says what to write in their place."""

from urllib.parse import quote

import pytest

from watchword.settings import SettingsError, load

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
    "a proxy's address with a zone": ("trusted_proxies", ["fe80::1%eth0"], "'fe80::1%eth0' is not an IP address or network"),
    "a scope with a space": ("scopes", {"orders read": {"sentence": "See orders"}}, "scopes: 'orders read' is not a valid scope"),
    "a scope with a quote": ("self_registered_scopes", ['"x"'], "self_registered_scopes: '\"x\"' is not a valid scope"),
    "an audience with a fragment": ("default_resource", "https://api.example.com#x", "default_resource: .* is not an absolute URI"),
    "an API that is no address": ("status_lists", ["orders"], "status_lists: 'orders' is not an absolute URI"),
    "an API with a space": ("self_registered_resources", ["https://a b"], "self_registered_resources: .* is not an absolute URI"),
    "an API with half of brackets": ("default_resource", "https://[::1", "default_resource: .* is not an absolute URI"),
    "an API without a host": ("resources", {"https:///orders": "Orders"}, "resources: .* is not an absolute URI"),
    "an API at no port": ("resources", {"https://api.example.com:99999": "Orders"}, "resources: .* is not an absolute URI"),
    "no host behind a comma": ("database", "postgresql://u:p@db1:5432,/ww", "no host between two commas, or beside one"),
    "a port without a host": ("database", "postgresql://u@db1,:5433/ww", "no host between two commas, or beside one"),
    "no host between the commas of a query": ("database", "postgresql:///ww?host=db1,,db2", "no host between two commas, or beside one"),
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
    "a folder as the database": ("database", "/", "database: / is a folder: name a file in it"),
    "a key file whose name no file can have": ("key_file", "key\0", "key_file: cannot look for .*: .*embedded null"),
    "the name of no API": ("resources", {"orders": "Orders"}, "resources: 'orders' is not an absolute URI"),
}  # fmt: skip


@pytest.mark.parametrize(("option", "value", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_the_start_is_refused_for(option: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load({option: value}, {})


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


def test_an_unknown_variable_is_named_as_it_was_set() -> None:
    with pytest.raises(SettingsError, match=r"'worker' in WATCHWORD_WORKER: did you mean 'workers'\?"):
        load(environ={"WATCHWORD_WORKER": "2"})
