"""What reads a whole table on PostgreSQL takes as long as that takes: `database_timeout` is for what people wait for."""

from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli
from tests.fixtures.postgres import Store
from tests.store.backends import cluster_of, name_of

pytestmark = pytest.mark.postgres


async def test_a_trail_too_long_to_be_read_within_the_time_limit_is_verified(
    postgres_store: Store, tmp_path: Path
) -> None:
    variables = {"WATCHWORD_DATABASE": postgres_store.address, "WATCHWORD_KEY_FILE": str(tmp_path / "key")}
    variables |= {"WATCHWORD_DATABASE_TIMEOUT": "1"}
    made = run_cli(
        tmp_path, "token", "create", "a", "--owner", "b", "--scope", "c", "--json", variables=variables
    )
    assert made.returncode == 0, made.stderr
    cluster_of(postgres_store).sql(
        "ALTER TABLE events RENAME TO kept_events; "
        "CREATE VIEW events AS SELECT kept_events.* FROM (SELECT pg_sleep(1.1)) AS slow, kept_events",
        name_of(postgres_store),
    )
    for command, code in ((("audit",), 1), (("audit", "--verify"), 0)):
        done = run_cli(tmp_path, *command, "--json", variables=variables)
        assert done.returncode == code, done.stdout
        assert ("statement timeout" in done.stdout) is bool(code)
