"""Secrets under a passphrase: only the right one opens them, and nothing in the file can be altered."""

import resource
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.unit.zero.refusing import refused

from watchword.zero import sealing
from watchword.zero.records import MAX_RECORD, Sealed, checked

WORD = "correct horse battery stäple"


def seal(holder: Any, word: str = WORD) -> Sealed:
    return sealing.seal(holder.secret, word, b"s" * 16, b"n" * 24, 1, 8)


def test_the_passphrase_opens_it_however_it_was_typed(holder: Any) -> None:
    assert sealing.unseal(seal(holder), WORD) == holder.secret
    assert sealing.unseal(seal(holder), WORD.replace("ä", "a\u0308")) == holder.secret


@pytest.mark.parametrize("word", ["wrong", WORD + " ", WORD.upper(), "", "\ud800", "x\x00"], ids=ascii)
def test_another_passphrase_does_not(holder: Any, word: str) -> None:
    assert refused(lambda: sealing.unseal(seal(holder), word)) == "passphrase"


def test_an_empty_passphrase_seals_nothing(holder: Any) -> None:
    assert refused(lambda: seal(holder, "")) == "passphrase"


@pytest.mark.parametrize(
    "changes",
    [{"passes": 2}, {"memory": 16}, {"salt": b"t" * 16}, {"nonce": b"m" * 24}],
    ids=lambda changes: f"a changed {next(iter(changes))}",
)
def test_nothing_can_be_altered(holder: Any, changes: dict[str, Any]) -> None:
    assert refused(lambda: sealing.unseal(structs.replace(seal(holder), **changes), WORD)) == "passphrase"


def test_no_byte_of_the_ciphertext_can_be_altered(holder: Any) -> None:
    sealed = seal(holder)
    for position in range(0, len(sealed.ciphertext), 9):
        changed = bytearray(sealed.ciphertext)
        changed[position] ^= 1
        altered = structs.replace(sealed, ciphertext=bytes(changed))
        assert refused(partial(sealing.unseal, altered, WORD)) == "passphrase"


@pytest.mark.parametrize(
    "changes",
    [
        *({"passes": passes} for passes in (0, 17)),
        *({"memory": memory} for memory in (7, 2**20 + 1)),
        *({name: b""} for name in ("salt", "nonce", "ciphertext")),
        {"ciphertext": b"x" * (MAX_RECORD + 1)},
    ],
    ids=lambda changes: f"{next(iter(changes))} {len(str(next(iter(changes.values()))))}",
)
def test_a_file_cannot_demand_endless_work(holder: Any, changes: dict[str, Any]) -> None:
    assert checked(seal(holder))
    assert refused(lambda: checked(structs.replace(seal(holder), **changes))) == "malformed"


@pytest.mark.skipif(sys.platform != "linux", reason="reads what this process has from /proc")
def test_memory_that_this_machine_cannot_spare_is_no_wrong_passphrase(holder: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    sealed = seal(holder)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**28, hard))
    try:
        assert sealing.unseal(sealed, WORD) == holder.secret
        assert refused(lambda: sealing.unseal(structs.replace(sealed, memory=2**20), WORD)) == "memory"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("production_cost")
def test_what_is_sealed_by_default_costs_what_rfc_9106_recommends(holder: Any) -> None:
    sealed = sealing.seal(holder.secret, WORD, b"s" * 16, b"n" * 24)
    assert (sealed.passes, sealed.memory) == (3, 64 * 1024)
