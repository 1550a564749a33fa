"""RFC 8949 within the limits of CTAP 2 §8: the CBOR that authenticators send, read before any library sees it.

Definite lengths, no tags, no floating point, names that are integers or text and occur once, few levels. What is left cannot make
a decoder build large, deep or surprising values.
"""

MAX_DEPTH = 4
_SIMPLE: dict[int, object] = {0xF4: False, 0xF5: True, 0xF6: None}


class CborError(ValueError):
    """The bytes are not CBOR as an authenticator may send it."""


def decode(data: bytes, start: int = 0, depth: int = 0) -> tuple[object, int]:
    """Return the value that begins at a position, and where it ends; raise CborError."""
    if depth > MAX_DEPTH:
        raise CborError("too deep")
    if data[start : start + 1] and data[start] in _SIMPLE:
        return _SIMPLE[data[start]], start + 1
    kind, size, at = _head(data, start)
    if kind == 0:
        return size, at
    if kind == 1:
        return -1 - size, at
    if size > len(data) - at:  # every byte, member or item takes at least one byte
        raise CborError("cut off")
    if kind == 2:
        return data[at : at + size], at + size
    if kind == 3:
        return _text(data[at : at + size]), at + size
    if kind == 4:
        return _array(data, at, size, depth)
    if kind == 5:
        return _map(data, at, size, depth)
    raise CborError("not allowed here")


def _head(data: bytes, start: int) -> tuple[int, int, int]:
    if start >= len(data):
        raise CborError("cut off")
    kind, small = data[start] >> 5, data[start] & 0x1F
    if small < 24:
        return kind, small, start + 1
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(small, 0)
    end = start + 1 + width
    if not width or end > len(data):
        raise CborError("not a definite length")
    return kind, int.from_bytes(data[start + 1 : end], "big"), end


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CborError("not UTF-8") from None


def _array(data: bytes, at: int, size: int, depth: int) -> tuple[list[object], int]:
    items = []
    for _ in range(size):
        item, at = decode(data, at, depth + 1)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, size: int, depth: int) -> tuple[dict[int | str, object], int]:
    members: dict[int | str, object] = {}
    for _ in range(size):
        name, at = decode(data, at, depth + 1)
        if isinstance(name, bool) or not isinstance(name, int | str) or name in members:
            raise CborError("a name is of the wrong kind or there twice")
        members[name], at = decode(data, at, depth + 1)
    return members, at
