"""Every reason by which the rules refuse what a form sent has its text in the catalogues."""

import ast
import re
from pathlib import Path

import pytest

from watchword.flows.clients.client_metadata import ClientInput
from watchword.http.operation import convert
from watchword.oauth.errors import OAuthError
from watchword.pages import languages, reasons

SOURCE = Path(reasons.__file__).parent.parent
# Where those refuse whom the forms of the console call
RULES = [
    "flows/clients/client_metadata",
    "flows/clients/client_registry",
    "flows/clients/client_checks",
    "flows/clients/client_keys",
    "flows/trust/trust_rules",
    "flows/users/accounts",
    "flows/users/people",
    "flows/users/account_changes",
    "flows/users/sign_up",
    "flows/users/enrolment",
    "flows/api_tokens",
    "flows/membership",
    "oauth/groups",
    "oauth/answers",
    "oauth/fapi",
    "oauth/trust",
    "oauth/redirect_uri",
    "oauth/logout_addresses",
    "oauth/subject",
    "oauth/scopes",
    "oauth/request_object",
    "credentials/names",
    "credentials/addresses",
    "credentials/look_alikes",
]
# What no form of the console can come to: names of stored things in addresses, grants and tokens at their endpoints, registration by strangers
ELSEWHERE = re.compile(
    r"The assertion is not accepted\.|The scope exceeds what is granted.*|.*of a self-registered client.*|The client's keys cannot.*"
    r"|.*narrow.*|Such a token cannot outlive.*|(?:path|jkt|addresses|metadata) must be .*|.*request_uri.*|Request objects.*|The request object.*"
    r"|The parameter redirect_uri.*|The redirect_uri is not registered.*"
)


def sentences(module: str) -> set[str]:
    """Return the sentences that a module holds besides its documentation, each with an example in the place of what differs."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = (_said(node) for node in ast.walk(tree) if id(node) not in documents | parts)
    return {text for text in said if re.fullmatch(r"[A-Za-z].* .*[.)]", text)}


def _said(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "example" for part in node.values)
    return ""


@pytest.mark.parametrize("module", RULES)
def test_every_reason_has_its_text(module: str) -> None:
    said = {text for text in sentences(module) if not ELSEWHERE.fullmatch(text)}
    assert said
    assert {text for text in said if reasons.find(text) is None} == set()


def test_a_reason_is_said_in_the_language_of_who_reads_it_with_what_differs() -> None:
    problem = reasons.find("private_key_jwt needs the client's public keys: give jwks or jwks_uri.")
    assert problem is not None
    german = languages.available()["de"]
    said = languages.fill_text(german, f"problem.{problem.name}", **problem.values)
    assert said.startswith("private_key_jwt braucht die öffentlichen Schlüssel")


def test_a_text_that_shows_braces_keeps_them() -> None:
    problem = reasons.find("The only placeholder in the subject of people must be {sub}.")
    assert problem is not None
    english = languages.available()["en"]
    assert languages.fill_text(english, f"problem.{problem.name}", **problem.values).endswith("{sub}.")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"name": "n" * 201}, "name darf höchstens 200 Zeichen haben.", id="a text that is too long"),
        pytest.param({"name": ""}, "name muss mindestens 1 Zeichen haben.", id="a text that is too short"),
        pytest.param({"redirect_uris": ["https://a"] * 51}, "redirect_uris darf höchstens 50 Einträge haben.", id="a list that is too long"),
        pytest.param({"access_token_lifetime": 4}, "access_token_lifetime muss mindestens 5 sein.", id="a number that is too small"),
        pytest.param({"access_token_lifetime": 86_401}, "access_token_lifetime darf höchstens 86400 sein.", id="a number that is too big"),
        pytest.param({"access_token_format": "x"}, "access_token_format muss eines von jwt, opaque sein.", id="none of the choices"),
        pytest.param({"require_pkce": "x"}, "require_pkce hat nicht die erwartete Form.", id="another kind of value"),
        pytest.param({"x": 1}, "x ist hier nicht bekannt.", id="an unknown field"),
    ],
)  # fmt: skip
def test_what_the_decoder_says_is_put_into_words(given: dict[str, object], expected: str) -> None:
    with pytest.raises(OAuthError) as refused:
        convert({"name": "n", **given}, ClientInput)
    problem = reasons.find(refused.value.description)
    assert problem is not None, refused.value.description
    german = languages.available()["de"]
    assert languages.fill_text(german, f"problem.{problem.name}", **problem.values) == expected


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("claims['repository']", id="a key"),
        pytest.param("rules[2].claims['a b']['c'].pattern", id="keys, indexes and members"),
        pytest.param(f"claims['{'][' * 60}']", id="a key of many brackets, which could be shared out in countless ways"),
    ],
)  # fmt: skip
def test_a_member_of_a_table_is_put_into_words_by_its_key(field: str) -> None:
    problem = reasons.find(f"{field}: Expected int, got str")
    assert problem is not None
    assert (problem.name, problem.values) == ("reason.shape_other", {"field": field})
