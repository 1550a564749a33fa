"""Hashes that other products made are taken over as they export them, verify their password and no other, and are never absurd to compute."""

import hashlib
import re
from base64 import b64encode
from typing import Any

import bcrypt
import pytest
from django.contrib.auth import hashers
from werkzeug.security import generate_password_hash

from watchword.credentials import foreign_hash, password
from watchword.credentials.password import HashRefused

WORD = "Tür 7"
SALT = "saltsaltsaltsaltsalt12"


def django(name: str, **options: Any) -> str:
    made: str = getattr(hashers, name)().encode(WORD, SALT, **options)
    return made


def django_bcrypt(name: str) -> str:
    hasher = getattr(hashers, name)()
    made: str = hasher.encode(WORD, bcrypt.gensalt(4))
    return made


def django_argon2() -> str:
    class Cheap(hashers.Argon2PasswordHasher):
        time_cost, memory_cost, parallelism = 1, 64, 1

    made: str = Cheap().encode(WORD, SALT)
    return made


# By the products themselves; passlib's were made by its release 1.7.4
EXPORTED = {
    "Django, PBKDF2": (django("PBKDF2PasswordHasher", iterations=1000), WORD),
    "Django, PBKDF2 with SHA-1": (django("PBKDF2SHA1PasswordHasher", iterations=1000), WORD),
    "Django, scrypt": (django("ScryptPasswordHasher", n=1024), WORD),
    "Django, Argon2": (django_argon2(), WORD),
    "Django, bcrypt": (django_bcrypt("BCryptPasswordHasher"), WORD),
    "Django, bcrypt after SHA-256": (django_bcrypt("BCryptSHA256PasswordHasher"), WORD),
    "Werkzeug, scrypt": (generate_password_hash(WORD, "scrypt:1024:8:1"), WORD),
    "Werkzeug, PBKDF2": (generate_password_hash(WORD, "pbkdf2:sha256:1000"), WORD),
    "Werkzeug, PBKDF2 with SHA-512": (generate_password_hash(WORD, "pbkdf2:sha512:1000"), WORD),
    "Werkzeug of old": (re.sub(":150000", "", generate_password_hash(WORD, "pbkdf2:sha256:150000")), WORD),
    "bcrypt, 2b": (bcrypt.hashpw(WORD.encode(), bcrypt.gensalt(4)).decode(), WORD),
    "bcrypt, 2y of PHP": ("$2y$" + bcrypt.hashpw(WORD.encode(), bcrypt.gensalt(4)).decode()[4:], WORD),
    "passlib, PBKDF2": ("$pbkdf2-sha256$1000$c2FsdHNhbHQ.Pj8/c2FsdA$yDp3aCwtT1/x1VKBnGrWdWdP5DLYqHVEMXxJXP3GQF4", WORD),
    "passlib, PBKDF2 with SHA-1": ("$pbkdf2$1000$c2FsdHNhbHQ.Pj8/c2FsdA$Ffb2YaEOSSCcLEtpzMA9iPzi3E8", WORD),
    "passlib, scrypt": ("$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ+Pj8/c2FsdA$QDWJGsHn9csK65hTqCQiHKWNUcBETGwlfEdULpHXYaI", WORD),
    "Keycloak, rewritten as in the guide": (
        "$pbkdf2-sha256$i=27500$c2FsdHNhbHRzYWx0c2FsdA==$FLAKrylANDgDgtPBQiUvp4/v52EpM6tnb3b2ZEP26EQ=",
        "password",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("exported", "word"), EXPORTED.values(), ids=EXPORTED)
def test_the_password_of_another_product_goes_on_to_work(exported: str, word: str) -> None:
    stored = password.adopt(f" {exported}\n")
    assert password.verify_password(stored, word)
    for wrong in (word + " ", word.swapcase()):
        assert not password.verify_password(stored, wrong)
    assert password.adopt(stored) == stored, "a dump of our own can be read again"


@pytest.mark.parametrize("name", [name for name in EXPORTED if "Argon2" not in name])
def test_it_is_hashed_anew_at_the_next_sign_in(name: str) -> None:
    assert password.needs_rehash(password.adopt(EXPORTED[name][0]))


def test_of_a_long_password_bcrypt_counts_what_it_counted_before() -> None:
    long = "ä" * 50
    stored = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    assert password.verify_password(stored, long)
    assert not password.verify_password(stored, "ä" * 35)


def test_bits_of_bcrypt_that_stand_for_nothing_are_ignored() -> None:
    """Some products left them as they came; with the salt as it is written, nothing could be computed."""
    honest = bcrypt.hashpw(WORD.encode(), bcrypt.gensalt(4)).decode()
    characters = foreign_hash.BCRYPT_CHARACTERS
    salt, end = (characters[characters.index(honest[at]) + bits] for at, bits in ((28, 15), (-1, 3)))
    padded = honest[:28] + salt + honest[29:-1] + end
    assert not foreign_hash.is_readable(padded)
    for prefix in ("", "bcrypt_sha256$"):
        assert password.adopt(prefix + padded) == prefix + honest
    assert password.verify_password(password.adopt(padded), WORD)


def test_of_a_long_tag_by_pbkdf2_the_first_block_tells() -> None:
    """Each block costs as much as the first, and Keycloak wrote tags of 64 bytes whatever the digest."""
    raw = hashlib.pbkdf2_hmac("sha1", WORD.encode(), b"salt", 1000, 64)
    stored = password.adopt(f"$pbkdf2$1000$c2FsdA${b64encode(raw).decode()}")
    assert password.verify_password(stored, WORD)
    assert not password.verify_password(stored, WORD + "x")
    other = password.adopt(f"$pbkdf2$1000$c2FsdA${b64encode(raw[:20] + bytes(44)).decode()}")
    assert password.verify_password(other, WORD)


def test_the_word_is_taken_as_it_was_typed() -> None:
    """What other products hashed was not normalised: a decomposed letter and the space of another script are others."""
    for word in ("Tu\u0308r", "a\u00a0b"):
        stored = password.adopt(generate_password_hash(word, "pbkdf2:sha256:1000"))
        assert password.verify_password(stored, word)
    assert not password.verify_password(stored, "a b")


ONE = "$pbkdf2-sha256$i=1000$c2FsdA$" + "A" * 43
TWO = "$scrypt$ln=10,r=8,p=1$c2FsdA$" + "A" * 43
REFUSED = {
    "MD5": "5f4dcc3b5aa765d61d8327deb882cf99",
    "MD5 of Unix": "$1$28772684$iEwNOgGugqO9.bIz5sk8k/",
    "SHA-512 of Unix": "$6$rounds=5000$usesomesillystri$" + "D" * 86,
    "MD5 of Django": "md5$salt$ee7e9ea7ab7ad29a2a0cd3cea7fd8a9f",
    "the password itself": WORD,
    "what Django writes for nobody": "!unusable",
    "too few iterations": ONE.replace("1000", "999"),
    "absurd iterations": ONE.replace("1000", "2000001"),
    "absurd memory": TWO.replace("ln=10", "ln=19"),
    "absurd work in many lanes": TWO.replace("ln=10", "ln=15").replace("p=1", "p=9"),
    "a work factor that is too large for its block": TWO.replace("ln=10,r=8", "ln=16,r=1"),
    "absurd cost": bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode().replace("$04$", "$16$"),
    "no cost": bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode().replace("$04$", "$03$"),
    "a digest that is not there": generate_password_hash(WORD, "pbkdf2:sha256:1000").replace("sha256", "md5"),
    "a work factor that is no power of two": "scrypt:1000:8:1$salt$" + "00" * 64,
    "a short tag": ONE[:-30],
    "a tag that is no Base64": ONE[:-1] + "!",
    "half a byte": "pbkdf2:sha256:1000$salt$" + "0" * 63,
    "no salt": ONE.replace("c2FsdA", ""),
    "cut off": django("PBKDF2PasswordHasher", iterations=1000)[:30],
    "digits of another script": ONE.replace("1000", "١٠٠٠"),
    "longer than any": ONE + "A" * 200,
}


@pytest.mark.parametrize("exported", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_verified_is_refused_and_not_repeated(exported: str) -> None:
    assert password.adopt(ONE) == ONE
    with pytest.raises(HashRefused) as refused:
        password.adopt(exported)
    assert exported not in str(refused.value)
    assert not foreign_hash.is_readable(exported)
    assert not password.verify_password(exported, WORD)
