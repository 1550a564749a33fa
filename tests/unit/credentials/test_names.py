"""RFC 8265: one account for names that people take for one another. Rows LG-04, LG-14, LG-15."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.rows import in_turn

from watchword.credentials import names
from watchword.credentials.names import NameRefused

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=80)


def canonical(name: str) -> str | None:
    try:
        return names.canonical_username(name)
    except NameRefused:
        return None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("admin", "admin", id="a plain name"),
        pytest.param("Admin", "admin", id="capital letters"),
        pytest.param("ＡＤＭＩＮ", "admin", id="full-width letters"),
        pytest.param("𝐚𝐝𝐦𝐢𝐧", "admin", id="mathematical letters"),
        pytest.param("aﬀable", "affable", id="a ligature"),
        pytest.param("\u212aelvin", "kelvin", id="the sign for kelvin"),
        pytest.param("ſam", "sam", id="a long s"),
        pytest.param("Straße", "strasse", id="a sharp s"),
        pytest.param("mu\u0308ller", "müller", id="a decomposed umlaut"),
        pytest.param("ada.lovelace_1815-b+c", "ada.lovelace_1815-b+c", id="dots, digits and signs"),
        pytest.param("Ольга", "ольга", id="a Cyrillic name"),
        pytest.param("Ὀδυσσεύς", "ὀδυσσεύσ", id="a Greek name"),
        pytest.param("田中さん", "田中さん", id="a Japanese name of two scripts"),
        pytest.param("दीपिका", "दीपिका", id="a Hindi name with vowel signs"),
        pytest.param("محمد", "محمد", id="an Arabic name"),
        pytest.param("x" * 64, "x" * 64, id="64 characters"),
    ],
)
def test_a_name_has_one_canonical_form(name: str, expected: str) -> None:
    """LG-04, LG-14."""
    assert canonical(name) == expected
    assert canonical(expected) == expected


@in_turn(
    "name",
    [
        pytest.param("\u0430dmin", id="a Cyrillic a among Latin letters"),
        pytest.param("adm\u0456n", id="a Cyrillic i among Latin letters"),
        pytest.param("\u03b1dmin", id="a Greek alpha among Latin letters"),
        pytest.param("admin\u200b", id="a zero-width space"),
        pytest.param("ad\u00admin", id="a soft hyphen"),
        pytest.param("ad\u034fmin", id="a combining grapheme joiner"),
        pytest.param("admin\ufe0f", id="a variation selector"),
        pytest.param("admin\U000e0061", id="a tag character"),
        pytest.param("\u202enimda", id="a right-to-left override"),
        pytest.param("ad\u200dmin", id="a joiner"),
        pytest.param("\u3164", id="a Hangul filler"),
        pytest.param("admin ", id="a space after"),
        pytest.param(" admin", id="a space before"),
        pytest.param("ad min", id="a space within"),
        pytest.param("ad\u3000min", id="an ideographic space"),
        pytest.param("admin.", id="a dot after"),
        pytest.param("ad..min", id="two dots"),
        pytest.param(".admin", id="a dot before"),
        pytest.param("-admin", id="a dash before"),
        pytest.param("\u0301admin", id="a mark before"),
        pytest.param("a\u0301\u0323\u0327\u0334dmin", id="a pile of marks"),
        pytest.param("ad/min", id="a slash"),
        pytest.param("<b>", id="markup"),
        pytest.param("admin\r\nx", id="a line break"),
        pytest.param("admin\x00", id="NUL"),
        pytest.param("admin\ud800", id="a lone surrogate"),
        pytest.param("", id="nothing"),
        pytest.param("x" * 65, id="65 characters"),
        pytest.param("ﷺ" * 64, id="a flood of ligatures"),
        pytest.param("user1\u0661", id="two kinds of digits"),
        pytest.param("אבa", id="two directions"),
        pytest.param("1אב", id="a right-to-left name that begins with a digit"),
        pytest.param("user_0123456789abcdef0123456789abcdef", id="an account's identifier"),
        pytest.param("client_01m8kangq0zabgha9zm4zkh8g3", id="a client's identifier"),
        pytest.param("mallory@example.com", id="an address"),
        pytest.param("☃", id="a picture"),
    ],
)
def test_a_name_that_deceives_is_refused(name: str) -> None:
    """LG-14."""
    assert canonical("admin") == "admin"
    with pytest.raises(NameRefused) as caught:
        names.canonical_username(name)
    assert caught.value.field == "username"
    assert not name or name not in caught.value.remedy


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param("admin", "ADMIN", True, id="case does not matter"),
        pytest.param("copy", "\u0441\u043e\u0440\u0443", True, id="a whole word of Cyrillic letters"),
        pytest.param("HOMEP", "НОМЕР", True, id="a whole word of Cyrillic capitals"),
        pytest.param("oko", "\u03bf\u03ba\u03bf", True, id="a whole word of Greek letters"),
        pytest.param("paul", "pauI", True, id="a capital i as a small L"),
        pytest.param("admin", "ADMlN", True, id="a small L among capitals"),
        pytest.param("root", "r00t", True, id="zeros as letters"),
        pytest.param("paul", "pau1", True, id="a one as an L"),
        pytest.param("admin", "adrnin", True, id="r and n as m"),
        pytest.param("william", "vvilliam", True, id="two v as w"),
        pytest.param("admin", "admịn", True, id="a dot below"),
        pytest.param("user4", "ユーザ4", False, id="another script is another name"),
        pytest.param("neil", "nell", False, id="names that look different are different"),
        pytest.param("anna", "hanna", False, id="one letter more is another name"),
    ],
)
def test_names_that_look_alike_have_the_same_skeleton(one: str, other: str, alike: bool) -> None:
    """LG-14."""
    assert (names.skeleton(one) == names.skeleton(other)) == alike


def test_an_address_is_a_user_name_only_as_the_accounts_own() -> None:
    """LG-14: else it would catch the sign-ins of the address's owner."""
    assert names.canonical_username("Ada@Example.com", email="ada@example.com") == "ada@example.com"
    with pytest.raises(NameRefused):
        names.canonical_username("victim@example.com", email="mallory@example.com")
    assert names.skeleton("ada@example.com", email="ada@example.com")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param("arnie@example.com", "Arnie@Example.com", True, id="letters of any case"),
        pytest.param("arnie@example.com", "arnie@exarnple.com", True, id="a domain that looks like another"),
        pytest.param("kim@apple.com", "kim@аррӏе.com", True, id="a domain of Cyrillic letters"),
        pytest.param("kim@apple.com", "kim@xn--80ak6aa92e.com", True, id="the same in A-labels"),
        pytest.param(
            "kim@бена.com", "kim@сзбка.com", False, id="domains of which only the A-labels look alike"
        ),
        pytest.param("arnie@example.com", "amie@example.com", False, id="two mailboxes of one domain"),
        pytest.param("m1@example.com", "ml@example.com", False, id="a digit and a letter"),
    ],
)
def test_addresses_are_alike_by_the_looks_of_their_domain_only(one: str, other: str, alike: bool) -> None:
    """LG-14: the domain's mail server tells its mailboxes apart, and each is proved."""
    assert (names.skeleton(one, email=one) == names.skeleton(other, email=other)) == alike


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        pytest.param("Ada.Lovelace@Example.COM", "ada.lovelace@example.com", id="case is folded"),
        pytest.param("ada+news@example.com", "ada+news@example.com", id="a tag stays"),
        pytest.param("o'neil@example.co.uk", "o'neil@example.co.uk", id="an apostrophe"),
        pytest.param("ada@bücher.example", "ada@xn--bcher-kva.example", id="an international domain"),
        pytest.param("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example", id="the same in A-labels"),
        pytest.param("ada@faß.de", "ada@xn--fa-hia.de", id="a sharp s of IDNA 2008"),
        pytest.param("ada@ｅｘａｍｐｌｅ.com", "ada@example.com", id="a full-width domain"),
        pytest.param("a" * 64 + "@example.com", "a" * 64 + "@example.com", id="64 characters before the @"),
    ],
)
def test_an_address_has_one_canonical_form(email: str, expected: str) -> None:
    """LG-15."""
    assert names.canonical_email(email) == expected
    assert names.canonical_email(expected) == expected


@in_turn(
    "email",
    [
        pytest.param("a@b@example.com", id="two @"),
        pytest.param("a@evil.com@example.com", id="a second domain"),
        pytest.param("a＠evil.com@example.com", id="a full-width @"),
        pytest.param('"a@evil.com"@example.com', id="a quoted local part"),
        pytest.param('"a b"@example.com', id="a quoted space"),
        pytest.param("a(x)@example.com", id="a comment"),
        pytest.param("Ada <a@example.com>", id="a display name"),
        pytest.param("a@example.com,b@evil.com", id="two addresses"),
        pytest.param("a@example.com\r\nBcc: b@evil.com", id="a header after it"),
        pytest.param("a\r\nBcc: b@evil.com", id="a header before the @"),
        pytest.param("a@example.com\n", id="a line break at the end"),
        pytest.param("a@exa\nmple.com", id="a line break in the domain"),
        pytest.param(" a@example.com", id="a space before"),
        pytest.param("a\x00@example.com", id="NUL"),
        pytest.param("a\ud800@example.com", id="a lone surrogate"),
        pytest.param("a@ex\ud800ample.com", id="a lone surrogate in the domain"),
        pytest.param("m\u0131ke@example.com", id="a dotless i"),
        pytest.param("\u212aelvin@example.com", id="the sign for kelvin, which folds to k"),
        pytest.param("ａda@example.com", id="a full-width letter"),
        pytest.param(".a@example.com", id="a dot before"),
        pytest.param("a.@example.com", id="a dot after"),
        pytest.param("a..b@example.com", id="two dots"),
        pytest.param("a@localhost", id="a host without a dot"),
        pytest.param("a@[127.0.0.1]", id="an address literal"),
        pytest.param("a@127.0.0.1", id="an IP address"),
        pytest.param("a@example.com.", id="a dot after the domain"),
        pytest.param("a@.example.com", id="a dot before the domain"),
        pytest.param("a@-example.com", id="a dash before the domain"),
        pytest.param("a@exa_mple.com", id="an underscore in the domain"),
        pytest.param("a@example.com/x", id="a path"),
        pytest.param("a@e%78ample.com", id="an escape"),
        pytest.param("a@xn--a.com", id="an A-label that decodes to nothing"),
        pytest.param("a@", id="no domain"),
        pytest.param("@example.com", id="no local part"),
        pytest.param("a", id="no @"),
        pytest.param("", id="nothing"),
        pytest.param("a" * 65 + "@example.com", id="65 characters before the @"),
        pytest.param("a@" + "b" * 64 + ".com", id="a label of 64 characters"),
        pytest.param("a@" + "bcd." * 63 + "com", id="more than 254 characters"),
        pytest.param("a@" + "ü." * 120 + "com", id="a domain that is too long in A-labels"),
        pytest.param("a" * 1_000_000, id="a megabyte"),
    ],
)
def test_what_is_no_plain_address_is_refused(email: str) -> None:
    """LG-15."""
    assert names.canonical_email("a@example.com")
    with pytest.raises(NameRefused) as caught:
        names.canonical_email(email)
    assert caught.value.field == "email"


def test_mail_goes_to_the_local_part_that_was_typed() -> None:
    assert names.deliverable_email("Ada@Bücher.example") == "Ada@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("  Ada   Lovelace ", "Ada Lovelace", id="spaces are collapsed"),
        pytest.param("Ada\u00a0L.", "Ada L.", id="a no-break space is a space"),
        pytest.param("Jose\u0301", "José", id="NFC"),
        pytest.param("Ada 👩‍🔬", "Ada 👩‍🔬", id="emoji joined to one stay so"),
        pytest.param("O'Neil <b>", "O'Neil <b>", id="escaping is for the page"),
        pytest.param("", None, id="nothing"),
        pytest.param(" \u3000 ", None, id="spaces only"),
        pytest.param("\u200d\ufe0f", None, id="invisible characters only"),
        pytest.param("Ada\u202eevil", None, id="an override of direction"),
        pytest.param("Ada\u200b", None, id="a zero-width space"),
        pytest.param("Ada\x00", None, id="NUL"),
        pytest.param("Ada\x1b[31m", None, id="an escape sequence"),
        pytest.param("Ada\ud800", None, id="a lone surrogate"),
        pytest.param("\u0f67" + "\u0f90" * 7, "\u0f67" + "\u0f90" * 7, id="a tall Tibetan syllable"),
        pytest.param("a" + "\u0301" * 10, None, id="marks that cover the lines above"),
        pytest.param(
            "a" + "\u0316" * 5 + "\u200d" + "\u0489" * 5, None, id="and below, with a joiner between"
        ),
        pytest.param("x" * 129, None, id="more than 128 characters"),
        pytest.param("x" * 1_000_000, None, id="a megabyte"),
    ],
)
def test_a_free_name_is_shown_as_one_line_that_hides_nothing(text: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(NameRefused):
            names.display(text)
    else:
        assert names.display(text) == shown


@pytest.mark.parametrize(
    "hidden", ["\u3164", "\u2800", "\u2060", "\u00ad", "\u200d", "\u061c", "\u2028", "\U000e0041", "\x00"]
)
def test_what_people_read_shows_something_and_hides_nothing(hidden: str) -> None:
    for text in ("Bank", "Банк", "銀行", "❤\ufe0f App", "⠃⠁⠝⠅⠀⠁"):
        assert names.is_visible(text)
    assert not names.is_visible(hidden)
    assert not names.is_visible(f"Ba{hidden}nk") or hidden == "\u2800"
    assert not names.is_visible("")


def test_what_people_read_covers_nothing_around() -> None:
    assert names.flaw("The name", "Nguyê\u0303n बैंक הַשֵּׁם") is None
    assert names.flaw("The name", "Ba" + "\u0301" * 10 + "nk") == "The name has too many marks on one letter."
    assert names.flaw("The name", " Bank") == (
        "The name must be text without invisible characters or surrounding spaces."
    )


@settings(max_examples=300)
@given(ANYTHING)
def test_canonical_forms_are_stable_whatever_is_typed(name: str) -> None:
    found = canonical(name)
    assert found is None or canonical(found) == found
    if found is not None:
        assert names.skeleton(name)


@settings(max_examples=200)
@given(st.one_of(ANYTHING, st.builds("a@{}.com".format, ANYTHING), st.builds("{}@b.com".format, ANYTHING)))
def test_an_address_is_ascii_or_refused_whatever_is_typed(email: str) -> None:
    try:
        found = names.canonical_email(email)
    except NameRefused:
        return
    assert found.isascii()
    assert found.isprintable()
    assert names.canonical_email(found) == found
