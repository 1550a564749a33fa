"""Lists of identifiers in statements: one or a hundred placeholders, so that there are few statements to prepare."""

from collections.abc import Iterator, Sequence

WIDTH = 100


def places(first: int, identifiers: Sequence[str]) -> str:
    """Return the placeholders of a list, numbered from the first."""
    return ", ".join(f"${first + n}" for n in range(_width(identifiers)))


def padded(identifiers: Sequence[str]) -> list[str]:
    """Return the values of those placeholders, padded with "", which is nobody's identifier."""
    return [*identifiers, *[""] * (_width(identifiers) - len(identifiers))]


def in_parts(identifiers: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide a list of any length into parts that fit one statement."""
    for begin in range(0, len(identifiers), WIDTH):
        yield identifiers[begin : begin + WIDTH]


def _width(identifiers: Sequence[str]) -> int:
    return 1 if len(identifiers) == 1 else WIDTH
