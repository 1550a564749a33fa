"""What every test may ask for: fixtures by topic, and the rule by which a missing system package skips or fails."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings
from tests.fixtures.disks import in_memory

# A million objects come to stay while tests are collected: to look through them again and again takes as long as to make them.
gc.disable()

# How long an example takes says how busy the machine is.
settings.register_profile("watchword", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("watchword")

pytest_plugins = (
    "pytester",
    "watchword.testing",
    "tests.fixtures.system",
    "tests.fixtures.hashing",
    "tests.fixtures.loops",
    "tests.fixtures.authorities",
    "tests.fixtures.servers",
    "tests.fixtures.live",
    "tests.fixtures.postgres",
    "tests.fixtures.documents",
    "tests.fixtures.relying_party",
)


def pytest_configure() -> None:
    """Let `tmp_path` lie in memory, unless told where else; `tmp_path_retention_policy` keeps there what belongs to a failure alone."""
    if (folder := in_memory()) is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Collect garbage again, of what tests make: what came before them stays."""
    gc.freeze()
    gc.enable()
