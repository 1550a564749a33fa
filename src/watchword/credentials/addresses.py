"""RFC 5321 §4.1.2 and RFC 5891: e-mail addresses, unique and safe to put into a header (LG-15).

Accepts what mail servers give out: an ASCII dot-atom at a domain name with a dot. Quoted local parts, comments, address literals
and internationalised local parts are refused: each has been used to get past a check of the domain.
"""

import re

import idna

MAX_ADDRESS = 254
MAX_LOCAL = 64
REMEDY = "This is not an e-mail address such as name@example.com."

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z])[a-z0-9-]{{1,62}}[a-z0-9]")


class AddressRefused(ValueError):
    """Mail cannot safely be sent to what was given; the message never repeats it."""


def mail_address(address: str) -> str:
    """Return the address with its local part as typed and its domain in A-labels; raise AddressRefused."""
    if not 0 < len(address) <= MAX_ADDRESS:
        raise AddressRefused(REMEDY)
    local, _, domain = address.rpartition("@")
    # Before any folding: a compatibility character must not become a letter of somebody else's address.
    if len(local) > MAX_LOCAL or not _LOCAL.fullmatch(local):
        raise AddressRefused(REMEDY)
    result = f"{local}@{_ascii_domain(domain)}"
    if len(result) > MAX_ADDRESS:
        raise AddressRefused(REMEDY)
    return result


def canonical_address(address: str) -> str:
    """Return the form under which an address is unique; raise AddressRefused."""
    return mail_address(address).lower()


def shown_domain(domain: str) -> str:
    """Return the domain of a canonical address in letters, as people read it."""
    return idna.decode(domain)


def _ascii_domain(domain: str) -> str:
    try:
        found = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii").lower()
    except (UnicodeError, ValueError, IndexError):
        raise AddressRefused(REMEDY) from None
    if len(found) > 253 or not _DOMAIN.fullmatch(found):
        raise AddressRefused(REMEDY)
    return found
