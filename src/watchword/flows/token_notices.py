"""What people are told by mail of their API tokens: that they end soon, and that others may have one.

Sent after the change that it tells of is committed, like every notice to a person; the audit trail has the event in any case.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal

from watchword.flows import mail
from watchword.flows.mail import Origin
from watchword.flows.runtime import Runtime
from watchword.store import api_tokens as store
from watchword.store import users
from watchword.store.api_tokens import ApiToken

PAGE = "/account/tokens"
MOST = 20  # tokens that one mail names


async def tell_expiring(runtime: Runtime, ending: Iterable[ApiToken]) -> None:
    """Tell the owners of tokens that end soon, each in one mail.

    Those that were narrowed from others or made to live no longer than the notice are left out: whoever made them knows.
    """
    notice = runtime.settings.token_expiry_notice
    lasting = [
        one for one in ending if one.parent_id is None and (one.expires_at or 0) - one.created_at > notice
    ]
    await _tell(runtime, lasting, "token_expiring")


async def tell_leaked(
    runtime: Runtime, token_ids: Sequence[str], change: Literal["revoked", "exposed"], *, by: str = ""
) -> None:
    """Tell the owner of tokens that others may have, unless it was the owner's own act; `by` is who acted."""
    found = [await runtime.database.read(store.get_token, one) for one in token_ids[:MOST]]
    await _tell(
        runtime,
        [one for one in found if one and one.owner_id != by],
        "token_leaked",
        change=change,
        unread=len(token_ids[MOST:]),
    )


async def _tell(
    runtime: Runtime, tokens: list[ApiToken], template: str, *, unread: int = 0, **more: object
) -> None:
    def owner(token: ApiToken) -> str:
        return token.owner_id

    personal = sorted((one for one in tokens if one.owner_kind == "user"), key=owner)
    for user_id, own in groupby(personal, owner):
        user = await runtime.database.read(users.get_user, user_id)
        if user is None or user.disabled_at is not None:
            continue
        listed = list(own)
        more["tokens"] = [await _described(runtime, one) for one in listed[:MOST]]
        more["further"] = len(listed[MOST:]) + unread
        await mail.notify(runtime, user, template, Origin("", ""), PAGE, **more)


async def _described(runtime: Runtime, token: ApiToken) -> dict[str, object]:
    uses = await runtime.database.read(store.list_secret_uses, token.id)
    hint = f"{runtime.settings.brand}a_…{uses[0].hint}" if uses else ""
    return {"name": token.name, "hint": hint, "expires_at": token.expires_at}
