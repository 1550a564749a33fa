"""A family of refresh tokens: rotated, forgiving of honest races, dead after reuse (RT-02, RT-03, TK-04 to TK-07)."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import structs

from watchword.oauth import refresh
from watchword.oauth.errors import OAuthError
from watchword.oauth.refresh import Family, Limits

NOW = 1_800_000_000
LIMITS = Limits(idle=1000, lifetime=5000, grace=10)
FRESH = Family(generation=0, started_at=NOW, last_used_at=NOW)
ONCE = Family(generation=1, started_at=NOW, last_used_at=NOW, rotated_at=NOW)
TWICE = Family(generation=2, started_at=NOW, last_used_at=NOW, rotated_at=NOW)


@pytest.mark.parametrize(
    ("family", "generation", "after", "outcome"),
    [
        pytest.param(FRESH, 0, 0, "rotate", id="the first token rotates"),
        pytest.param(ONCE, 1, 1, "rotate", id="the newest token rotates"),
        pytest.param(ONCE, 0, 0, "replay", id="RT-02 the loser of a race gets the same successor"),
        pytest.param(ONCE, 0, 9, "replay", id="TK-06 a lost answer is repeated within the grace"),
        pytest.param(ONCE, 0, 10, "burn", id="RT-02 the predecessor after the grace burns"),
        pytest.param(TWICE, 0, 1, "burn", id="TK-07 a token two generations old burns within the grace"),
        pytest.param(TWICE, 3, 1, "burn", id="a generation that never was burns"),
        pytest.param(TWICE, -1, 1, "burn", id="a negative generation burns"),
        pytest.param(ONCE, 0, -30, "burn", id="a clock that stepped back does not stretch the grace"),
        pytest.param(FRESH, 0, 999, "rotate", id="just before idle expiry"),
        pytest.param(FRESH, 0, 1000, "idle", id="at idle expiry"),
        pytest.param(
            structs.replace(FRESH, last_used_at=NOW + 4999),
            0,
            5000,
            "ended",
            id="TK-04 at the end of its life though used",
        ),
        pytest.param(TWICE, 0, 6000, "burn", id="reuse of an expired family is still reuse"),
        pytest.param(
            structs.replace(ONCE, burned_at=NOW), 1, 0, "burned", id="TK-05 a burned family stays burned"
        ),
        pytest.param(
            structs.replace(ONCE, burned_at=NOW), 0, 0, "burned", id="a burned family forgives no race"
        ),
    ],
)
def test_a_presented_token_has_one_outcome(family: Family, generation: int, after: int, outcome: str) -> None:
    assert refresh.decide(family, generation, LIMITS, NOW + after) == outcome


@pytest.mark.parametrize(
    ("family", "generation", "after", "outcome"),
    [
        pytest.param(TWICE, 0, 9, "abandoned", id="F-25 nobody is there, within the grace: nothing happens"),
        pytest.param(TWICE, 0, -9, "abandoned", id="F-25 also with a clock that is behind"),
        pytest.param(TWICE, 0, 10, "burn", id="after the grace it burns"),
        pytest.param(TWICE, 0, -10, "burn", id="a clock that stepped back does not stretch the grace"),
        pytest.param(ONCE, 0, 10, "burn", id="the predecessor after the grace burns"),
        pytest.param(FRESH, 7, 0, "burn", id="a family that never rotated has no grace"),
        pytest.param(
            FRESH, 0, 0, "rotate", id="the newest token rotates: the client asks for the answer again"
        ),
        pytest.param(ONCE, 0, 0, "replay", id="the loser of a race gets the same successor"),
        pytest.param(structs.replace(TWICE, burned_at=NOW), 0, 0, "burned", id="what is burned stays so"),
    ],
)
def test_of_a_token_whose_presenter_has_left(
    family: Family, generation: int, after: int, outcome: str
) -> None:
    assert refresh.decide(family, generation, LIMITS, NOW + after, lambda: True) == outcome


def test_who_has_left_is_asked_only_where_a_family_would_burn_within_the_grace() -> None:
    asked: list[str] = []

    def has_left() -> bool:
        asked.append("asked")
        return False

    for family, generation, after in (
        (FRESH, 0, 0),
        (ONCE, 1, 0),
        (ONCE, 0, 0),
        (TWICE, 0, 10),
        (FRESH, 0, 1000),
    ):
        refresh.decide(family, generation, LIMITS, NOW + after, has_left)
    assert not asked
    assert refresh.decide(TWICE, 0, LIMITS, NOW, has_left) == "burn"
    assert asked == ["asked"]


def test_without_grace_there_is_no_second_answer() -> None:
    limits = structs.replace(LIMITS, grace=0)
    assert refresh.decide(ONCE, 1, limits, NOW) == "rotate"
    assert refresh.decide(ONCE, 0, limits, NOW) == "burn"
    assert refresh.decide(TWICE, 0, limits, NOW, lambda: True) == "burn"


@pytest.mark.parametrize("outcome", ["abandoned", "burn", "burned", "idle", "ended"])
def test_every_refusal_is_an_invalid_grant(outcome: refresh.Outcome) -> None:
    error = refresh.refusal(outcome)
    assert error is not None
    assert error.code == "invalid_grant"


def test_success_is_no_refusal() -> None:
    assert refresh.refusal("rotate") is None
    assert refresh.refusal("replay") is None


BOUND = {"owner": "app", "client_id": "app", "jkt": "J", "proven_jkt": "J", "x5t": "X", "proven_x5t": "X"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"client_id": "other"}, id="RT-03 another client"),
        pytest.param({"proven_jkt": "K"}, id="DP-04 another DPoP key"),
        pytest.param({"proven_jkt": None}, id="DP-04 no proof"),
        pytest.param({"proven_jkt": ""}, id="an empty thumbprint"),
        pytest.param({"proven_x5t": "Y"}, id="MT-05 another certificate"),
        pytest.param({"proven_x5t": None}, id="MT-05 no certificate"),
    ],
)
def test_a_bound_token_is_refused_from(change: dict[str, str | None]) -> None:
    refresh.check_binding(**BOUND)
    refresh.check_binding(**{**BOUND, "jkt": None, "x5t": None})  # type: ignore[arg-type]  # unbound, though proven
    with pytest.raises(OAuthError, match="invalid_grant") as refused:
        refresh.check_binding(**{**BOUND, **change})  # type: ignore[arg-type]  # a table of thumbprints
    said = "was not issued to this client" if "client_id" in change else "that this request does not prove"
    assert said in refused.value.description


def test_the_scope_only_narrows() -> None:
    assert refresh.narrow_scope((), ("a", "b")) == ("a", "b")
    assert refresh.narrow_scope(("b",), ("a", "b")) == ("b",)
    with pytest.raises(OAuthError, match="invalid_scope") as refused:
        refresh.narrow_scope(("a", "c"), ("a", "b"))
    assert refused.value.detail == "not allowed: c", "for the log, where a slip is looked for"


def rotated(family: Family, now: int) -> Family:
    """Return a family as a rotation leaves it in the store."""
    return Family(
        generation=family.generation + 1,
        started_at=family.started_at,
        last_used_at=max(now, family.last_used_at),
        rotated_at=now,
    )


def burned(family: Family, now: int) -> Family:
    """Return a family as its end leaves it in the store."""
    return Family(family.generation, family.started_at, family.last_used_at, family.rotated_at, now)


class FamilyMachine(RuleBasedStateMachine):
    """Any sequence of honest refreshes, races, replays, theft, revocation and clock movements."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.family = FRESH
        self.handed_out: dict[int, int] = {}  # generation → how often its successor was made
        self.was_burned = False

    @rule(seconds=st.integers(-20, 1200))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(back=st.integers(0, 5), left=st.booleans())
    def somebody_presents_a_token(self, back: int, left: bool) -> None:
        generation = self.family.generation - back
        before, outcome = self.family, refresh.decide(self.family, generation, LIMITS, self.now, lambda: left)
        if outcome == "rotate":
            assert back == 0
            self.handed_out[generation] = self.handed_out.get(generation, 0) + 1
            self.family = rotated(before, self.now)
        elif outcome == "replay":
            assert back == 1
            assert before.rotated_at is not None
            assert abs(self.now - before.rotated_at) < LIMITS.grace
        elif outcome == "abandoned":
            assert left
            assert back > 1, "the predecessor within the grace has its successor"
            assert before.rotated_at is not None
            assert abs(self.now - before.rotated_at) < LIMITS.grace
        elif outcome == "burn":
            assert back > 0
            self.family = burned(before, self.now)
            self.was_burned = True
        if outcome in ("rotate", "replay"):
            assert not self.was_burned
            assert self.now < before.started_at + LIMITS.lifetime
            assert self.now < before.last_used_at + LIMITS.idle

    @rule()
    def the_grant_is_revoked(self) -> None:
        self.family = burned(self.family, self.now)
        self.was_burned = True

    @rule()
    def the_server_restarts(self) -> None:
        kept = (self.family.generation, self.family.started_at, self.family.last_used_at)
        self.family = Family(*kept, self.family.rotated_at, self.family.burned_at)

    @invariant()
    def no_token_ever_has_two_successors(self) -> None:
        assert all(count == 1 for count in self.handed_out.values())

    @invariant()
    def what_is_burned_stays_burned(self) -> None:
        if self.was_burned:
            for generation in range(self.family.generation + 2):
                assert refresh.decide(self.family, generation, LIMITS, self.now) == "burned"


TestFamily = FamilyMachine.TestCase
