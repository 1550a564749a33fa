"""What every test may ask for: fixtures by topic, and the rule by which a missing system package skips or fails."""

pytest_plugins = (
    "pytester",
    "watchword.testing",
    "tests.fixtures.system",
    "tests.fixtures.hashing",
    "tests.fixtures.servers",
    "tests.fixtures.live",
    "tests.fixtures.postgres",
    "tests.fixtures.documents",
    "tests.fixtures.relying_party",
)
