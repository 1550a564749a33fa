"""The invariants I1 to I8, checked after the fault and the recovery: against the server, its database, its files and the ledger."""

import json
import re
from collections.abc import Iterator

from tests.drills.ledger import Ledger
from tests.drills.load import REDIRECT, VERIFIER, Family, Load, Walker
from tests.drills.world import World


def check(world: World, load: Load, ledger: Ledger, *, sample: int = 60) -> list[str]:
    """Return every violation; `sample` bounds how many families of each walker are tried out."""
    found: list[str] = []
    for walker in load.walkers:
        found += walker.violations
        walker.violations = []
        families = walker.random.sample(walker.families, min(sample, len(walker.families)))
        for family in families:
            found += _alive_or_dead(walker, family)
        found += _api_tokens(walker)
        for family in families:
            found += _once(walker, family)
        found += walker.violations
    found += fits_together(world)
    found += [
        f"I6: {entry.op} was answered {entry.status} {entry.error}"
        for entry in ledger.dishonest()
        if entry.status and not entry.op.endswith(".again") and not entry.op.startswith("check.")
    ]
    found += _secrets(world, ledger)
    return found


def _alive_or_dead(walker: Walker, family: Family) -> Iterator[str]:
    """I1, I2: what was acknowledged is so."""
    if not family.certain:
        return
    for token in family.access[-2:]:
        walker.must_be("check.access", token, family.alive)
    for token in family.revoked[-2:]:
        walker.must_be("check.revoked", token, False)
    answer = walker.client(
        "check.refresh", "/token", family.refresh, grant_type="refresh_token", refresh_token=family.refresh
    )
    if family.alive and answer.status == 200:
        family.rotated.append(family.refresh)
        family.refresh = str(answer.document["refresh_token"])
        family.access.append(str(answer.document["access_token"]))
    elif family.alive:
        yield f"I1: a live refresh token is answered {answer.status} {answer.document}"
    elif answer.status != 400:
        yield f"I2: a revoked refresh token is answered {answer.status}"


def _api_tokens(walker: Walker) -> Iterator[str]:
    for secret, alive in walker.api_tokens.values():
        if alive is not None:
            walker.must_be_api_token(secret, alive)
    yield from ()


def _once(walker: Walker, family: Family) -> Iterator[str]:
    """I3, I4: a code was good once; of a family at most the newest token works, and an old one ends it all."""
    answer = walker.client(
        "check.code", "/token", family.code,
        grant_type="authorization_code", code=family.code, redirect_uri=REDIRECT, code_verifier=VERIFIER,
    )  # fmt: skip
    if answer.status != 400:
        yield f"I3: a used code is answered {answer.status}"
    for token in (*family.rotated[-3:], family.refresh):
        answer = walker.client(
            "check.rotated", "/token", token, grant_type="refresh_token", refresh_token=token
        )
        if answer.status != 400:
            yield f"I4: a token of an ended family is answered {answer.status}"
    for token in family.access[-2:]:
        walker.must_be("check.orphan", token, False)


def fits_together(world: World) -> Iterator[str]:
    """I5: what was never answered is done or not done, and nothing in between."""
    done = world.run("doctor", "--data", "--json")
    document = json.loads(done.stdout)
    for finding in document["findings"]:
        if finding["level"] == "broken" and finding["code"] in ("data", "audit", "database"):
            yield f"I5: {finding['message']} [{finding['at']}]"


def _secrets(world: World, ledger: Ledger) -> Iterator[str]:
    """I8: nothing of what must stay secret is in any file but the master key's."""
    written = b"\n".join(
        path.read_bytes() for path in world.folder.rglob("*") if path.is_file() and path.name != "key"
    )
    parts = {
        (secret.partition("_")[2][:30] or secret).encode(): f"I8: a secret of kind {secret[:4]} is in a file"
        for secret in ledger.secrets
    }
    for length in {len(part) for part in parts}:
        # Each place where one may be is looked up once, however many secrets there are.
        for run in re.findall(rb"[\w.~+/=-]{%d,}" % length, written):
            for n in range(len(run) - length + 1):
                if run[n : n + length] in parts:
                    yield parts[run[n : n + length]]
