"""Which second factors count: for a sign-in, where policy demands one, and for a change to the account (MF-06)."""

import pytest

from watchword.flows import factors
from watchword.settings import Settings
from watchword.store.factors import Enrolled
from watchword.store.users import User

MAILS = {"smtp_url": "smtp://mail.example.com", "mail_from": "auth@example.com"}
ALWAYS = {"second_factor_required": "always"}
ADA, ROOT = User(id="user_a", username="ada"), User(id="user_r", username="root", is_admin=True)


def settings(**given: object) -> Settings:
    return Settings(**{**MAILS, **given})  # type: ignore[arg-type]  # each test names options of their types


def has(*names: str) -> Enrolled:
    return Enrolled(
        passkeys=int("passkey" in names),
        totp="totp" in names,
        recovery_codes=10 if "recovery_code" in names else 0,
        recovery_made_at=1 if "recovery_code" in names else None,
        email_code="email_code" in names,
    )


@pytest.mark.parametrize(
    ("given", "held", "usable"),
    [
        ({}, (), ()),
        ({}, ("totp",), ("totp",)),
        ({}, ("email_code", "totp", "passkey"), ("passkey", "totp", "email_code")),
        ({}, ("recovery_code", "totp"), ("totp", "recovery_code")),
        ({}, ("recovery_code",), ()),
        ({}, ("email_code",), ("email_code",)),
        ({"smtp_url": None, "mail_from": None}, ("email_code", "recovery_code"), ()),
        ({"second_factors": ("email_code",)}, ("totp", "passkey"), ()),
        ({"second_factors": ("recovery_code", "passkey")}, ("totp", "recovery_code"), ()),
    ],
)
def test_a_factor_is_usable_where_it_is_set_up_and_accepted(
    given: dict[str, object], held: tuple[str, ...], usable: tuple[str, ...]
) -> None:
    assert factors.usable(settings(**given), has(*held)) == usable


@pytest.mark.parametrize(
    ("given", "held", "of_ada", "of_root"),
    [
        ({}, ("passkey",), (), ()),
        ({}, ("passkey", "totp"), ("passkey", "totp"), ("passkey", "totp")),
        ({}, ("email_code",), ("email_code",), ("email_code",)),
        (ALWAYS, ("passkey",), ("passkey",), ("passkey",)),
        (ALWAYS, (), (), ()),
        ({"second_factor_required": "administrators"}, ("passkey",), (), ("passkey",)),
    ],
)
def test_a_passkey_alone_demands_nothing_unless_policy_does(
    given: dict[str, object], held: tuple[str, ...], of_ada: tuple[str, ...], of_root: tuple[str, ...]
) -> None:
    for user, demanded in ((ADA, of_ada), (ROOT, of_root)):
        assert factors.demanded(settings(**given), user, has(*held)) == demanded


@pytest.mark.parametrize(
    ("held", "of_ada", "of_root"),
    [
        (("totp", "email_code"), ("totp", "email_code"), ("totp",)),
        (("passkey", "email_code"), ("passkey", "email_code"), ("passkey",)),
        (("email_code", "recovery_code"), ("email_code", "recovery_code"), ("email_code", "recovery_code")),
    ],
)
def test_a_code_by_mail_confirms_nothing_of_an_administrator_who_has_set_up_another(
    held: tuple[str, ...], of_ada: tuple[str, ...], of_root: tuple[str, ...]
) -> None:
    for user, confirming in ((ADA, of_ada), (ROOT, of_root)):
        assert factors.confirming(settings(), user, has(*held)) == confirming
