"""One holder, one clock, one registered identity for the tests of `watchword.zero`, and the second implementation."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from watchword.zero import disclosure, identity, proof
from watchword.zero.records import Challenge, Identity, Secret

VECTORS = Path(__file__).parents[2] / "vectors" / "zero"
NOW = 1_800_000_000


@dataclass(frozen=True)
class Holder:
    secret: Secret
    identity: Identity
    challenge: Challenge
    now: int


@pytest.fixture
def holder() -> Holder:
    attributes = disclosure.pack_attributes({"email": "ada@example.org", "age": 33, "member": True})
    secret = Secret(bytes(range(32)), attributes)
    asked = proof.issue_challenge("https://api.example", "login", b"c" * 32, NOW, 120)
    return Holder(secret, identity.create(secret, NOW, NOW + 86400, b"r" * 32), asked, NOW)


@pytest.fixture(scope="session")
def ref() -> Any:
    spec = importlib.util.spec_from_file_location("zero_reference", VECTORS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vectors() -> Any:
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text())
