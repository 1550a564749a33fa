"""RFC 8176: what a session says about its sign-in is true, and stays true when more is proved."""

from itertools import combinations

import pytest

from watchword.credentials import methods
from watchword.credentials.methods import AAL0, AAL1, AAL2, LEVELS, PHISHING_RESISTANT, Method

M = Method


@pytest.mark.parametrize(
    ("used", "acr", "amr"),
    [
        pytest.param({M.EMAIL_CODE}, AAL0, ("email",), id="a mailbox is no factor"),
        pytest.param({M.PASSWORD}, AAL1, ("pwd",), id="a password is one factor"),
        pytest.param({M.UPSTREAM}, AAL1, ("fed",), id="another provider is one factor"),
        pytest.param({M.RECOVERY_CODE}, AAL1, ("recovery",), id="a recovery code is one factor"),
        pytest.param({M.PASSKEY}, AAL1, ("pop", "user"), id="a key alone is one factor"),
        pytest.param({M.PASSKEY_VERIFIED}, PHISHING_RESISTANT, ("pop", "user", "mfa"), id="a passkey is two"),
        pytest.param({M.PASSWORD, M.TOTP}, AAL2, ("pwd", "otp", "mfa"), id="password and TOTP are two"),
        pytest.param(
            {M.PASSWORD, M.RECOVERY_CODE}, AAL2, ("pwd", "recovery", "mfa"), id="with a recovery code"
        ),
        pytest.param({M.PASSWORD, M.EMAIL_CODE}, AAL1, ("pwd", "email"), id="a mailbox adds no factor"),
        pytest.param(
            {M.PASSWORD, M.PASSKEY}, PHISHING_RESISTANT, ("pwd", "pop", "user", "mfa"), id="password and key"
        ),
        pytest.param(
            {M.TOTP, M.RECOVERY_CODE}, AAL1, ("otp", "recovery"), id="two things one has are one factor"
        ),
        pytest.param({M.PASSKEY, M.TOTP}, AAL1, ("pop", "user", "otp"), id="a key and TOTP are one factor"),
        pytest.param(set(), AAL0, (), id="nothing is nothing"),
    ],
)
def test_methods_give_their_assurance(used: set[Method], acr: str, amr: tuple[str, ...]) -> None:
    assert methods.assurance(used) == (acr, amr)


def test_the_constant_for_passwords_is_the_tables() -> None:
    assert methods.assurance({M.PASSWORD}) == (methods.AAL1, ("pwd",))


@pytest.mark.parametrize("size", range(len(Method) + 1))
def test_a_recorded_amr_gives_the_same_assurance_again(size: int) -> None:
    for used in combinations(Method, size):
        acr, amr = methods.assurance(used)
        assert methods.assurance(methods.methods_of(amr))[0] == acr, used
        assert methods.step_up(amr)[0] == acr
        assert ("mfa" in amr) == (acr in (AAL2, PHISHING_RESISTANT))


@pytest.mark.parametrize(
    ("before", "method", "renewed"),
    [
        pytest.param(AAL1, M.PASSWORD, True, id="a password renews its own level"),
        pytest.param(AAL2, M.PASSWORD, False, id="but not that of two factors"),
        pytest.param(PHISHING_RESISTANT, M.PASSWORD, False, id="nor a passkey's"),
        pytest.param(PHISHING_RESISTANT, M.PASSKEY_VERIFIED, True, id="a passkey renews its own"),
        pytest.param(PHISHING_RESISTANT, M.PASSKEY, False, id="a key alone does not"),
        pytest.param(AAL1, M.EMAIL_CODE, False, id="nor a mailbox a password"),
        pytest.param("of a provider", M.PASSWORD, True, id="what nobody knows is renewed by anything"),
    ],
)
def test_a_further_proof_renews_the_time_of_sign_in(before: str, method: Method, renewed: bool) -> None:
    assert methods.renews(before, before, method) is renewed
    assert methods.renews(AAL0, AAL1, method), "a level that was reached just now"


@pytest.mark.parametrize("method", Method)
def test_more_proof_never_lowers_the_level(method: Method) -> None:
    for size in range(len(Method) + 1):
        for used in combinations(Method, size):
            before, amr = methods.assurance(used)
            after, _ = methods.step_up(amr, method)
            assert LEVELS.index(after) >= LEVELS.index(before)


def test_a_step_up_adds_the_method_to_those_before() -> None:
    assert methods.step_up(("pwd",), M.TOTP) == (AAL2, ("pwd", "otp", "mfa"))
    assert methods.step_up(("something else",), M.PASSWORD) == (AAL1, ("pwd",))
