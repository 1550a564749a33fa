"""Rich authorization requests hold only what an API defined and the client may use (AZ-58)."""

import json

import pytest

from watchword.oauth import authorization_details as rar
from watchword.oauth.authorization_details import DetailType
from watchword.oauth.errors import OAuthError

TYPES = {
    "account_information": DetailType(
        allowed={
            "actions": frozenset({"list_accounts", "read_balances"}),
            "locations": frozenset({"https://a.example"}),
        }
    ),
    "payment": DetailType(
        members={
            "amount": {"currency": "string", "value": "string"},
            "creditor": "string",
            "parts": ["integer"],
            "share": "number",
            "urgent": "boolean",
        },
        required=frozenset({"amount"}),
    ),
    "secret": DetailType(),
}
REGISTERED = ("account_information", "payment")
ACCOUNT: rar.Detail = {
    "type": "account_information",
    "actions": ["list_accounts"],
    "locations": ["https://a.example"],
}
PAYMENT: rar.Detail = {"type": "payment", "amount": {"currency": "EUR", "value": "1.00"}, "creditor": "x"}


def test_the_honest_request_is_kept_as_sent() -> None:
    assert rar.parse(json.dumps([ACCOUNT, PAYMENT]), TYPES, REGISTERED) == (ACCOUNT, PAYMENT)
    more = {**PAYMENT, "parts": [1, 2], "share": 0.5, "urgent": False}
    assert rar.parse(json.dumps([more]), TYPES, REGISTERED) == (more,)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[", id="no JSON"),
        pytest.param("[]", id="an empty list"),
        pytest.param(json.dumps(ACCOUNT), id="an object in place of a list"),
        pytest.param("5", id="a number in place of a list"),
        pytest.param('["payment"]', id="an entry that is no object"),
        pytest.param("[{}]", id="an entry without type"),
        pytest.param('[{"type": 1}]', id="a type that is a number"),
        pytest.param('[{"type": ["payment"]}]', id="a type that is a list"),
        pytest.param('[{"type": "unknown"}]', id="AZ-58 an unknown type"),
        pytest.param('[{"type": "secret"}]', id="AZ-58 a type that the client may not use"),
        pytest.param(json.dumps([{**ACCOUNT, "extra": 1}]), id="AZ-58 an unknown member"),
        pytest.param(
            json.dumps([{**ACCOUNT, "privileges": ["admin"]}]), id="a common field that the type lacks"
        ),
        pytest.param(json.dumps([{**ACCOUNT, "actions": ["delete"]}]), id="an unknown action"),
        pytest.param(json.dumps([{**ACCOUNT, "actions": "list_accounts"}]), id="an action that is no list"),
        pytest.param(json.dumps([{**ACCOUNT, "actions": {"list_accounts": 1}}]), id="actions as an object"),
        pytest.param(json.dumps([{**ACCOUNT, "actions": []}]), id="no action"),
        pytest.param(json.dumps([{**ACCOUNT, "actions": [["x"]]}]), id="a nested action"),
        pytest.param('[{"type": "payment"}]', id="a missing member"),
        pytest.param('[{"type": "payment", "amount": 1, "amount": 2}]', id="a member twice"),
        pytest.param(json.dumps([{**PAYMENT, "amount": "1.00"}]), id="AZ-58 a text for an object"),
        pytest.param(json.dumps([{**PAYMENT, "amount": {"fee": "1"}}]), id="AZ-58 an unknown member inside"),
        pytest.param(
            json.dumps([{**PAYMENT, "amount": {"value": 1}}]), id="AZ-58 a number for a text inside"
        ),
        pytest.param(json.dumps([{**PAYMENT, "creditor": {}}]), id="an object for a text"),
        pytest.param(json.dumps([{**PAYMENT, "parts": 1}]), id="a number for a list"),
        pytest.param(json.dumps([{**PAYMENT, "parts": [1, "2"]}]), id="a text in a list of numbers"),
        pytest.param(json.dumps([{**PAYMENT, "parts": [1.5]}]), id="a fraction for a whole number"),
        pytest.param(json.dumps([{**PAYMENT, "share": True}]), id="a truth value for a number"),
        pytest.param(json.dumps([{**PAYMENT, "urgent": 1}]), id="a number for a truth value"),
        pytest.param(json.dumps([{**PAYMENT, "creditor": None}]), id="null"),
        pytest.param(json.dumps([PAYMENT] * 21), id="too many entries"),
        pytest.param("[" * 100_000, id="a deep text"),
        pytest.param('[{"type": "payment", "amount": NaN}]', id="NaN"),
        pytest.param('[{"type": "payment", "amount": "\\ud800"}]', id="a lone surrogate"),
        pytest.param("[" + " " * 9000 + "]", id="a long text"),
    ],
)
def test_a_request_is_refused_that_holds(text: str) -> None:
    with pytest.raises(OAuthError) as caught:
        rar.parse(text, TYPES, REGISTERED)
    assert caught.value.code == "invalid_authorization_details"


@pytest.mark.parametrize(
    ("requested", "within"),
    [
        ((ACCOUNT,), True),
        ((), True),
        (({**ACCOUNT, "actions": ["list_accounts"]},), True),
        (({**ACCOUNT, "actions": ["list_accounts", "read_balances"]},), False),
        (({**ACCOUNT, "actions": []},), False),
        (({"type": "account_information"},), False),
        (({**PAYMENT, "amount": {"currency": "EUR", "value": "9.00"}},), False),
        ((ACCOUNT, {"type": "secret"}), False),
        ((PAYMENT, ACCOUNT), True),
        ((PAYMENT, PAYMENT), False),
        ((ACCOUNT, ACCOUNT), False),
    ],
)
def test_a_token_request_only_narrows(requested: tuple[rar.Detail, ...], within: bool) -> None:
    assert rar.is_within(requested, (ACCOUNT, PAYMENT)) is within


def test_what_fits_several_leaves_the_place_to_what_fits_one() -> None:
    broad = {**ACCOUNT, "actions": ["list_accounts", "read_balances"]}
    assert rar.is_within((ACCOUNT, broad), (broad, ACCOUNT))
    assert rar.is_within((ACCOUNT, broad), (broad, broad))
    assert not rar.is_within((broad, broad), (broad, ACCOUNT))


def test_a_token_request_names_what_was_granted_or_takes_it_all() -> None:
    granted = (ACCOUNT, PAYMENT)
    assert rar.narrow(None, granted, TYPES, REGISTERED) == granted
    assert rar.narrow(json.dumps([ACCOUNT]), granted, TYPES, REGISTERED) == (ACCOUNT,)
    dearer = {**PAYMENT, "amount": {"currency": "EUR", "value": "9.00"}}
    with pytest.raises(OAuthError, match="invalid_authorization_details"):
        rar.narrow(json.dumps([dearer]), granted, TYPES, REGISTERED)


def test_a_type_that_was_given_up_is_gone_from_older_grants() -> None:
    assert rar.remaining((ACCOUNT, PAYMENT), TYPES, ("payment",)) == (PAYMENT,)
    assert rar.remaining((ACCOUNT, PAYMENT), {"payment": TYPES["payment"]}, REGISTERED) == (PAYMENT,)


def test_a_client_registers_types_of_this_server() -> None:
    rar.check_registered(REGISTERED, TYPES)
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        rar.check_registered(("payment", "unknown"), TYPES)
