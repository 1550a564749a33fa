"""NIST SP 800-63B-4 §3.1.1.2: what may become a password, and that only it verifies. Rows LG-10 to LG-13, SE-07, SE-08."""

import hashlib
import sys
import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.credentials import guessable, password
from watchword.credentials.password import PasswordRefused

GOOD = "teal kettle under nine bridges"
SALT = b"0123456789abcdef"
STORED = password.hash_password(GOOD, SALT)
CONTEXT = ("Watchword", "alice.miller", "alice@example.com")


def refusal(new: str, context: Iterable[str] = CONTEXT) -> str | None:
    try:
        password.check_new_password(new, context_words=context)
    except PasswordRefused as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(GOOD, id="several words are accepted"),
        pytest.param("correct zebra fiddle", id="no digit, capital or sign is demanded"),
        pytest.param("тёплый чайник под мостом", id="any alphabet is accepted"),
        pytest.param("🦀🐙🌵🍕🚲🎻🪁🧭🦊🐢🧊🥨🛶🔭🎲", id="15 emoji are 15 characters"),
        pytest.param("x7Gq" * 4 + "tZ9wL2", id="random letters are accepted"),
        pytest.param("vKq9 " * 12 + "the very end", id="more than 64 characters are accepted"),
        pytest.param("dragon kettle bridge lamp", id="a common word among others is accepted"),
        pytest.param("alice keeps nine bees in teal hats", id="a name within a long phrase is accepted"),
        pytest.param("welcome secret kettle", id="common words in an uncommon row are accepted"),
        pytest.param("admin shadow computer", id="nothing but common words is accepted: the whole is judged"),
        pytest.param("83649204718264907153", id="twenty random digits are accepted"),
    ],
)
def test_a_good_password_is_accepted(new: str) -> None:
    """LG-12."""
    assert refusal(new) is None


@pytest.mark.parametrize(
    ("new", "code"),
    [
        pytest.param("kettle bridge9", "too_short", id="14 characters are too short for a single factor"),
        pytest.param("", "too_short", id="nothing is too short"),
        pytest.param("e\u0301" * 8, "too_short", id="a letter and its accent count as one character"),
        pytest.param("x" * 1025, "too_long", id="more than 1024 bytes are refused"),
        pytest.param("🦀" * 257, "too_long", id="the limit counts bytes, not characters"),
        pytest.param("kettle\x00under nine bridges", "characters", id="NUL is refused"),
        pytest.param("kettle\ud800under nine bridges", "characters", id="a lone surrogate is refused"),
        pytest.param("kettle\nunder nine bridges", "characters", id="a control character is refused"),
        pytest.param("passwordpassword", "common", id="a common password twice"),
        pytest.param("P@ssw0rdP@ssw0rd", "common", id="letters written as signs"),
        pytest.param("sunshine!!!!!2024", "common", id="a common word with a year"),
        pytest.param("!!!!2024administrator", "common", id="digits and signs before a common word"),
        pytest.param("aaaaaaaaaaaaaaaa", "common", id="one character repeated"),
        pytest.param("abcdefghijklmnop", "common", id="the alphabet"),
        pytest.param("qwertyuiop123456", "common", id="keys and digits in a row"),
        pytest.param("1qaz2wsx3edc4rfv", "common", id="columns of the keyboard"),
        pytest.param("987654321098765", "common", id="digits backwards"),
        pytest.param("kettle9kettle9kettle9", "common", id="a short thing repeated"),
        pytest.param("May the force be with you", "common", id="a famous phrase"),
        pytest.param("alice@example.com", "context", id="the person's address"),
        pytest.param("Alice.Miller.1984", "context", id="the user name and a year"),
        pytest.param("alice-watchword-01012001", "context", id="name, service and a date"),
        pytest.param("a1ice.mi11er.a1ice", "context", id="the name with letters as digits"),
        pytest.param("watchwordwatchword", "context", id="the service's name twice"),
        pytest.param("watchword sunshine", "context", id="the service's name and a common word"),
    ],
)
def test_a_weak_password_is_refused_with_its_reason(new: str, code: str) -> None:
    """LG-12."""
    assert refusal(GOOD) is None
    assert refusal(new) == code


@pytest.mark.parametrize(
    ("new", "accepted"),
    [
        pytest.param("kettle9b", True, id="no word of the list"),
        pytest.param("12345678", False, id="12345678"),
        pytest.param("baseball", False, id="baseball"),
        pytest.param("Trustno1", False, id="Trustno1"),
        pytest.param("iloveyou1", False, id="iloveyou1"),
        pytest.param("zaq12wsx", False, id="zaq12wsx"),
        pytest.param("P4$$w0rd", False, id="P4$$w0rd"),
        pytest.param("24121984", False, id="a birthday"),
        pytest.param("83619204", False, id="eight digits"),
        pytest.param("836192047", True, id="nine digits"),
        pytest.param("Summer24!", False, id="a season and a year"),
        pytest.param("jennifer", False, id="a first name"),
    ],
)
def test_a_short_text_is_listed_by_the_same_rules(new: str, accepted: bool) -> None:
    """LG-12."""
    assert (guessable.reason(new, CONTEXT) is None) == accepted


def test_the_list_of_common_passwords_is_long() -> None:
    assert len(guessable.listed()) > 3000


def test_a_remedy_never_repeats_the_password() -> None:
    with pytest.raises(PasswordRefused) as caught:
        password.check_new_password("sunshine!!!!!2024", context_words=())
    assert "sunshine" not in caught.value.remedy


def test_a_leaked_password_is_refused_when_a_list_is_given() -> None:
    leaked = {hashlib.sha1(GOOD.encode()).digest()}
    password.check_new_password("another kettle, over ten", context_words=(), breached=leaked.__contains__)
    with pytest.raises(PasswordRefused) as caught:
        password.check_new_password(GOOD, context_words=(), breached=leaked.__contains__)
    assert caught.value.code == "breached"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(GOOD.upper(), id="other case"),
        pytest.param(GOOD + " ", id="a space after"),
        pytest.param(" " + GOOD, id="a space before"),
        pytest.param(GOOD.replace(" ", "  "), id="two spaces for one"),
        pytest.param(GOOD[:-1], id="one character less"),
        pytest.param(GOOD + "x", id="one character more"),
        pytest.param(GOOD + "\x00", id="NUL after"),
        pytest.param(GOOD + "\x00x", id="NUL and more after"),
        pytest.param("", id="nothing"),
        pytest.param(GOOD + "\ud800", id="a lone surrogate after"),
        pytest.param("x" * 1_000_000, id="a megabyte"),
        pytest.param("e" + "\u0301\u0323" * 5_000, id="10,000 combining marks"),
        pytest.param("ﷺ" * 100_000, id="a flood of ligatures"),
    ],
)
def test_only_the_password_itself_verifies(other: str) -> None:
    """SE-07, SE-08."""
    assert password.verify_password(STORED, GOOD)
    assert not password.verify_password(STORED, other)


def test_nothing_is_truncated() -> None:
    """SE-07: 72 bytes are bcrypt's limit, not ours."""
    long = "x7Gq tZ9w " * 100
    stored = password.hash_password(long, SALT)
    assert password.verify_password(stored, long)
    assert not password.verify_password(stored, long[:72])
    assert not password.verify_password(stored, long[:-1] + "y")


def test_a_composed_and_a_decomposed_password_are_one() -> None:
    """LG-13."""
    typed = "Übergrößenträger über Ägypten"
    stored = password.hash_password(unicodedata.normalize("NFC", typed), SALT)
    assert password.verify_password(stored, typed)
    assert password.verify_password(stored, unicodedata.normalize("NFD", typed))


def test_a_space_typed_as_another_kind_of_space_is_a_space() -> None:
    """LG-13 by RFC 8265 §4.2.2: keyboards make a no-break space where a finger stays on a modifier."""
    kinds = [sign for sign in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(sign) == "Zs"]
    assert "\u00a0" in kinds
    for space in kinds:
        assert password.verify_password(STORED, GOOD.replace(" ", space)), ascii(space)


def test_the_longest_password_verifies_however_it_was_composed() -> None:
    typed = "ᾂ" * 341 + "x"  # three bytes composed, four characters decomposed
    assert len(typed.encode()) == password.MAX_BYTES
    with pytest.raises(PasswordRefused):
        password.hash_password(typed + "x", SALT)
    stored = password.hash_password(typed, SALT)
    assert password.verify_password(stored, unicodedata.normalize("NFD", typed))


@pytest.mark.usefixtures("production_cost")
def test_a_hash_names_owasp_parameters_and_its_salt() -> None:
    assert STORED.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert password.hash_password(GOOD, b"f" * 16) != STORED
    with pytest.raises(ValueError, match="16 bytes"):
        password.hash_password(GOOD, b"short")


@pytest.mark.parametrize(
    "stored",
    [
        STORED.replace("m=19456", "m=4194304"),
        STORED.replace("t=2", "t=1000000000"),
        STORED.replace("t=2", "t=33"),
        STORED.replace("m=19456,t=2", "m=262144,t=32"),
        STORED.replace("p=1", "p=99"),
        STORED.replace("m=19456", "m=1"),
        STORED.replace("m=19456", "m=" + "9" * 5000),
        STORED.replace("m=19456", "m=-1"),
        STORED.replace("$v=19", ""),
        STORED + "\n",
        STORED[:-30],
        STORED.replace("argon2id", "argon2xx"),
        STORED.replace("$", "€"),
        "$2b$12$abcdefghijklmnopqrstuv",
        "\ud800",
        "\x00",
        "",
    ],
)
def test_a_hash_with_absurd_or_malformed_parameters_is_never_computed(stored: str) -> None:
    """LG-10."""
    assert password.verify_password(STORED, GOOD)
    assert not password.verify_password(stored, GOOD)


@pytest.mark.usefixtures("production_cost")
@pytest.mark.parametrize(
    ("stored", "again"),
    [
        pytest.param(STORED, False, id="a hash of today stays"),
        pytest.param(STORED.replace("m=19456,t=2", "m=65536,t=3"), False, id="a stronger hash stays"),
        pytest.param(STORED.replace("m=19456", "m=9216"), True, id="less memory is made anew"),
        pytest.param(STORED.replace("t=2", "t=1"), True, id="fewer passes are made anew"),
        pytest.param(STORED.replace("argon2id", "argon2i"), True, id="an older variant is made anew"),
        pytest.param(STORED.replace("v=19", "v=16"), True, id="an older version is made anew"),
        pytest.param("garbage", True, id="what is no hash is made anew"),
    ],
)
def test_a_hash_weaker_than_todays_is_made_anew(stored: str, again: bool) -> None:
    assert password.needs_rehash(stored) == again


@pytest.mark.usefixtures("production_cost")
def test_a_hash_of_an_older_variant_verifies() -> None:
    """LG-11."""
    from argon2 import PasswordHasher, Type

    for kind in (Type.I, Type.ID):
        stored = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1, type=kind).hash(GOOD)
        assert password.verify_password(stored, GOOD)
        assert not password.verify_password(stored, GOOD + "x")
        assert password.needs_rehash(stored)


@pytest.mark.usefixtures("production_cost")
def test_an_unknown_account_costs_what_a_known_one_costs() -> None:
    """SE-05: the dummy is a hash of today's parameters, and no password's."""
    assert not password.needs_rehash(password.DUMMY_HASH)
    assert not password.verify_password(password.DUMMY_HASH, GOOD)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=()), max_size=60), st.lists(st.text(max_size=20), max_size=3))
def test_whatever_is_typed_is_accepted_or_refused(typed: str, context: list[str]) -> None:
    code = refusal(typed, context)
    assert code in {None, "too_short", "too_long", "characters", "common", "context"}
