"""Clients of the grants beside the code flow, from the command line."""

from pathlib import Path

import pytest
from tests.cli.test_commands import document

URN = "urn:ietf:params:oauth:grant-type:"


@pytest.mark.parametrize("grant", ["device_code", "token_exchange", "jwt_bearer"])
def test_a_grant_is_named_shortly_or_in_full(tmp_path: Path, grant: str) -> None:
    full = URN + grant.replace("_exchange", "-exchange").replace("jwt_", "jwt-")
    for name in (grant, full):
        made = document(tmp_path, "client", "create", "x", "--grant", name, "--scope", "orders:read")
        assert made["grant_types"] == [full]


def test_rules_of_exchange_are_given_and_shown(tmp_path: Path) -> None:
    options = ("--exchange-from", "https://a.example", "--exchange-for", "https://b.example", "--impersonate")
    made = document(tmp_path, "client", "create", "x", "--grant", "token_exchange", *options)
    shown = document(tmp_path, "client", "show", made["client_id"])["token_exchange"]
    assert (shown["serves"], shown["audiences"]) == (["https://a.example"], ["https://b.example"])
    assert shown["impersonate"] is True
    document(tmp_path, "client", "create", "x", "--grant", "client_credentials", *options, code=1)
