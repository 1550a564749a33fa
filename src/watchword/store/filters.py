"""WHERE clauses of lists: only the filters in use appear, so that each combination can use its own index."""


def where(*conditions: tuple[object, ...]) -> tuple[str, list[object]]:
    """Return a WHERE clause, "" without any filter, and its values.

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
