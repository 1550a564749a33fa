"""Unicode TR 39 §4 and §5: names that look alike, and names that mix scripts (LG-14).

A small table of our own for Latin, Cyrillic, Greek and Armenian, where user names are really imitated; every other script is kept
apart by the rule that a name has one. Two names with the same skeleton must not both be given out.
"""

import re
import unicodedata

# From what is seen to what it is taken for; lower case, applied after the capital letters below.
_LETTERS = str.maketrans(
    {
        # Cyrillic
        **dict(zip("аеорсухіјѕԁһӏкмтвнгԛԝьꙇпҽѵү", "aeopcyxijsdhlkmtbhrqwbinevy", strict=True)),
        # Greek
        **dict(zip("αοριυνκτεβγηχωςσϲϳ", "aopiuvktebynxwcocj", strict=True)),
        # Armenian
        **dict(zip("աոսօհցյզ", "wnuohgjq", strict=True)),
        # Latin that is not ASCII, and digits
        **dict(zip("ıɩɪłøđħŧɡɑƒɓɗɛɜʋʏ01", "iiilodhtgafbdeevyol", strict=True)),
    }
)
# Capital letters that look like Latin ones; folding case would lose that.
_CAPITALS = str.maketrans(
    dict(zip("ІӀВНМТКРΙΒΕΖΗΚΜΝΡΤΥΧ", "IIBHMTKPIBEZHKMNPTYX", strict=True)),
)
# A capital i beside small letters is read as a small L, and a small L (or a one) among capitals as a capital i.
_AS_SMALL_L = re.compile(r"(?<=[a-z])I|(?<![A-Za-z])I(?=[a-z])")
_AS_CAPITAL_I = re.compile(r"(?<=[A-Z])[l1](?=[A-Z])|(?<=[A-Z])l(?![a-z])|(?<![A-Za-z])l(?=[A-Z])")
_PAIRS = (("rn", "m"), ("vv", "w"))
_EAST_ASIAN = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "HANGUL", "IDEOGRAPHIC"}
)
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_BESIDE_IT = frozenset({"R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"})


def skeleton(name: str) -> str:
    """Return a form that is equal for names which look alike: accents off, look-alikes replaced."""
    seen = unicodedata.normalize("NFKC", name).translate(_CAPITALS)
    seen = _AS_CAPITAL_I.sub("i", _AS_SMALL_L.sub("l", seen)).casefold()
    letters = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", seen))
    plain = "".join(_digit(c) for c in letters if not "\u0300" <= c <= "\u036f").translate(_LETTERS)
    for pair, single in _PAIRS:
        plain = plain.replace(pair, single)
    return plain


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def problem(name: str) -> str | None:
    """Return what to change in a name that mixes scripts, digits or directions; None when it mixes none."""
    if len({_script(c) for c in name if unicodedata.category(c)[0] == "L"}) > 1:
        return "The user name must not mix alphabets."
    zeros = {ord(c) - unicodedata.decimal(c) for c in name if unicodedata.category(c) == "Nd"}
    if len(zeros) > 1:
        return "The user name must not mix kinds of digits."
    if not _reads_one_way(name):
        return "The user name must not mix directions of writing."
    return None


def _script(letter: str) -> str:
    found = unicodedata.name(letter, "UNKNOWN").split(" ")[0]
    return "EAST ASIAN" if found in _EAST_ASIAN else found


def _reads_one_way(name: str) -> bool:
    """RFC 5893 §2: the Bidi Rule."""
    kinds = [unicodedata.bidirectional(c) for c in name]
    if not _RIGHT_TO_LEFT & set(kinds):
        return True
    last = [kind for kind in kinds if kind != "NSM"][-1:]
    if kinds[0] not in ("R", "AL") or not set(kinds) <= _BESIDE_IT or {"EN", "AN"} <= set(kinds):
        return False
    return last[0] in ("R", "AL", "EN", "AN")
