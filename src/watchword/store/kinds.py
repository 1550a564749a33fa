"""A check of a whole SQLite file: every value has its column's type and can be read. SQLite accepts any type, and disks break.

PostgreSQL itself refuses values of another type.
"""

from watchword.store import schema, unreadable
from watchword.store.database import Transaction
from watchword.store.schema import Table

# Columns that hold JSON.
DOCUMENTS = frozenset(
    (
        "api_tokens.addresses", "api_tokens.metadata", "users.attributes", "users.groups", "clients.document", "access_tokens.claims",
        "grants.claims", "grants.authorization_details", "grants.wishes", "grants.request", "sessions.amr", "interactions.request",
        "interactions.done", "pushed_requests.request", "one_time_links.data", "trust_rules.document", "consents.authorization_details",
        "device_codes.authorization_details", "identities.document", "signing_keys.public_jwk",
    )
)  # fmt: skip
# Of these, the columns that may be empty.
MAY_BE_EMPTY = frozenset(("grants.wishes", "grants.request"))
# Columns that are NULL or at least 1.
COUNTS = frozenset(("api_tokens.rate_limit", "api_tokens.quota"))


async def find_misfits(tx: Transaction, shown: int) -> list[str]:
    """Return which columns hold values that this program never writes, with the keys of at most `shown` rows each."""
    found = []
    for table in schema.tables(schema.newest()):
        for column, kind, misfit in _misfits(table):
            found += await _places(tx, table, column, kind, misfit, shown)
    return found


def _misfits(table: Table) -> list[tuple[str, str, str]]:
    """Return (column, what is wrong, condition) for each way a row may be wrong; "" marks texts whose encoding has to be looked at."""
    conditions = []
    for n, column in enumerate(table.columns):
        if n in table.binary:
            conditions.append((column, "no bytes", f"typeof({column}) NOT IN ('blob', 'null')"))
        elif n in table.whole:
            conditions.append((column, "no integer", f"typeof({column}) NOT IN ('integer', 'null')"))
        elif n not in table.real:
            conditions.append((column, "no text", f"typeof({column}) NOT IN ('text', 'null')"))
            # Only a text with a character beyond ASCII may be invalid UTF-8.
            conditions.append((column, "", f"{column} GLOB '*[^' || char(1) || '-~]*'"))
        place = f"{table.name}.{column}"
        if place in DOCUMENTS:
            empty = f" AND {column} <> ''" if place in MAY_BE_EMPTY else ""
            conditions.append((column, "no JSON", f"json_valid({column}) = 0{empty}"))
        if place in COUNTS:
            conditions.append((column, "no limit", f"typeof({column}) = 'integer' AND {column} < 1"))
    return conditions


async def _places(
    tx: Transaction, table: Table, column: str, kind: str, condition: str, shown: int
) -> list[str]:
    """Describe at most `shown` rows that a condition holds for or, where `kind` is "", those of them whose text cannot be read."""
    keys = ", ".join(f"{name} AS key_{name}" for name in table.key)
    sql = f"SELECT {keys}, {column} AS kept FROM {table.name} WHERE {condition}"  # noqa: S608 - names of the schema
    rows = await tx.all_as_kept(f"{sql} LIMIT {shown}" if kind else sql)
    wrong = [row for row in rows if kind or not unreadable.is_readable(row["kept"], str)]
    return [
        f"{table.name}.{column} holds {kind or 'no UTF-8'} in the row {' '.join(unreadable.text(row[f'key_{name}']) for name in table.key)}"
        for row in wrong[:shown]
    ]
