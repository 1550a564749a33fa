"""Whose grant a token is made for, and what is left of that."""

import msgspec
import pytest

from watchword.flows import issuing
from watchword.oauth.errors import OAuthError
from watchword.store.grants import Grant, Standing
from watchword.store.users import User

NOW = 1_900_000_000
ADA = User("user_1", "ada", created_at=NOW, valid_from=NOW)
GRANT = Grant(
    id="g", client_id="c", user_id="user_1", session_id="s", scope="openid read", audience="api", claims="{}", created_at=NOW,
    started_at=NOW, last_used_at=NOW,
)  # fmt: skip
LASTING = msgspec.structs.replace(GRANT, scope="openid offline_access")
NEAR = msgspec.structs.replace(GRANT, scope="openid offline_accessible")


def standing(grant: Grant, user: User | None, *, in_session: bool) -> Standing:
    return Standing(grant, user, in_session, "", None, None, None, None, None, NOW)


@pytest.mark.parametrize(
    ("grant", "user", "in_session", "refused"),
    [
        pytest.param(GRANT, ADA, True, "", id="the grant stands"),
        pytest.param(LASTING, ADA, False, "", id="offline access outlives its session"),
        pytest.param(GRANT, ADA, False, "session", id="its session has ended"),
        pytest.param(NEAR, ADA, False, "session", id="another scope does not outlive it"),
        pytest.param(LASTING, None, True, "account", id="the account was deleted"),
        pytest.param(LASTING, msgspec.structs.replace(ADA, disabled_at=NOW), True, "account", id="or disabled"),
        pytest.param(LASTING, msgspec.structs.replace(ADA, valid_from=NOW + 1), True, "account", id="or ended since"),
    ],
)  # fmt: skip
def test_a_grant_is_its_persons_for_as_long_as_both_stand(
    grant: Grant, user: User | None, in_session: bool, refused: str
) -> None:
    found = standing(grant, user, in_session=in_session)
    if not refused:
        assert issuing.owner_of(found) == user
        return
    with pytest.raises(OAuthError, match="invalid_grant") as error:
        issuing.owner_of(found)
    assert refused in (error.value.detail or "")
