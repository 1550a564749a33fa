"""Which rows a list is to hold: its statement names only what was asked for, so that each way of asking can use its own index."""


def where(*conditions: tuple[object, ...]) -> tuple[str, list[object]]:
    """Return a WHERE clause, "" when nothing was asked for, and its values.

    A condition is a text with `{}` in the place of each value, and the values; it is left out when the first of them is "" or None.
    """
    texts: list[str] = []
    values: list[object] = []
    for text, *given in conditions:
        if given and given[0] in ("", None):
            continue
        texts.append(str(text).format(*(f"${len(values) + number}" for number in range(1, len(given) + 1))))
        values += given
    return f" WHERE {' AND '.join(texts)}" if texts else "", values
