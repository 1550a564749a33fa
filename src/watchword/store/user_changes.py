"""Changes to an existing account: its address, its password with the sessions that end, disabling, deletion."""

from watchword.credentials import names
from watchword.store.api_tokens import revoke_tokens_of
from watchword.store.browsers import forget_trust
from watchword.store.database import Transaction
from watchword.store.factors import enrolled
from watchword.store.grants import end_grants, hold_session
from watchword.store.identities import revoke_identities_of
from watchword.store.links import Link, create_link, forget_links, hold_link, use_link
from watchword.store.liveness import live_session, live_token
from watchword.store.passkeys import MadePasskey, add_passkey
from watchword.store.sessions import end_sessions_of
from watchword.store.users import get_user, hold_address, is_last_admin, remove_password, set_password

# The link that an operator hands over and the one that is mailed: whoever knows a name can have one mailed, which must not end the other.
RESETS = HANDED_OVER, MAILED = "reset_password", "mailed_reset"


async def set_email(
    tx: Transaction,
    user_id: str,
    email: str,
    canonical_email: str,
    *,
    verified: bool,
    only: bool = False,
    actor: str,
    now: int,
) -> str:
    """Set an account's address: "changed", "taken" as the address or the name of another account, or "unknown" account.

    With `only`, only whether it is verified may change, and nothing does that is so already: "other" when the account has another address.
    A user name that is an address follows the verified one: it would keep whoever is given the old address next from an account, and sign
    in by what is theirs.
    """
    if only and await _is_so(tx, user_id, canonical_email, verified):
        return "changed"
    named = await _named_by_address(tx, user_id) if verified else None
    look = "" if named is None else names.skeleton(canonical_email, email=canonical_email)
    taken = await tx.one(
        "SELECT id FROM users WHERE (canonical_email = $1 OR canonical_username = $1 OR skeleton = $2) AND id <> $3",
        canonical_email,
        look,
        user_id,
    )
    if taken is not None:
        return "taken"
    row = await tx.one(
        "UPDATE users SET email = $1, canonical_email = $2, email_verified_at = $3, proof_epoch = proof_epoch + 1, "
        "username = CASE WHEN $6 = '' THEN username ELSE $1 END, skeleton = CASE WHEN $6 = '' THEN skeleton ELSE $6 END, "
        "canonical_username = CASE WHEN $6 = '' THEN canonical_username ELSE $2 END "
        "WHERE id = $4 AND ($5 = 0 OR canonical_email = $2) RETURNING username",
        email,
        canonical_email,
        now if verified else None,
        user_id,
        int(only),
        look,
    )
    if row is None:
        return "other" if only else "unknown"
    renamed = {} if named in (None, row["username"]) else {"username": row["username"]}
    # Links mailed to the old address, and a pending change to another one, end (LG-21, LG-23).
    await forget_links_of(tx, user_id)
    await tx.run("DELETE FROM email_codes WHERE user_id = $1", user_id)
    await tx.record("user.email_changed", actor=actor, target=user_id, at=now, verified=verified, **renamed)
    return "changed"


async def _is_so(tx: Transaction, user_id: str, canonical_email: str, verified: bool) -> bool:
    """Whether an account has this address already, verified or not as given; its row is held."""
    row = await tx.one(
        "SELECT canonical_email, email_verified_at FROM users WHERE id = $1 FOR UPDATE", user_id
    )
    if row is None or row["canonical_email"] != canonical_email:
        return False
    return (row["email_verified_at"] is not None) == verified


async def _named_by_address(tx: Transaction, user_id: str) -> str | None:
    """Return the user name of an account if it is an address; that it is one never changes."""
    row = await tx.one("SELECT username FROM users WHERE id = $1 AND canonical_username LIKE '%@%'", user_id)
    return row["username"] if row else None


async def forget_links_of(tx: Transaction, user_id: str) -> None:
    """Forget the links that let a person back in or confirm an address, whoever has them."""
    for purpose in (*RESETS, "verify_email"):
        await forget_links(tx, user_id, purpose)


async def request_email_change(
    tx: Transaction, link: bytes, user_id: str, session_id: str, email: str, *, expires_at: int, now: int
) -> bool:
    """Store the link that confirms a new address; it ends with the session that asked. Return False when the session has ended."""
    if not await hold_session(tx, session_id, now):
        return False
    await create_link(
        tx,
        link,
        purpose="verify_email",
        subject=user_id,
        data={"email": email, "session": session_id},
        expires_at=expires_at,
        now=now,
    )
    return True


async def verify_email(
    tx: Transaction, link: bytes, user_id: str, email: str, canonical_email: str, now: int
) -> str:
    """Use up a link and set the address that it confirms: "changed", "taken", "unknown", or "gone" when the link is."""
    await _hold_account(tx, link)
    if await use_link(tx, link, "verify_email", now) is None:
        return "gone"
    return await set_email(tx, user_id, email, canonical_email, verified=True, actor=user_id, now=now)


async def change_password(
    tx: Transaction, user_id: str, password_hash: str, *, but: str | None, actor: str, now: int
) -> list[str]:
    """Set a password, end the trust in all browsers, and with `but` all that the old one may have led to except that session; return the
    ended sessions.

    Links mailed before end as well: whoever signed in with the old password may have asked for an address of theirs (LG-23).
    """
    if not await set_password(tx, user_id, password_hash, actor=actor, now=now):
        return []
    await forget_trust(tx, user_id)
    ended = [] if but is None else await _end_all_but(tx, user_id, but=but, actor=actor, now=now)
    await forget_links_of(tx, user_id)  # after the sessions: whoever ends one locks it before its links
    return ended


async def change_own_password(
    tx: Transaction,
    user_id: str,
    password_hash: str,
    *,
    known: str | None,
    but: str | None,
    now: int,
) -> bool:
    """Set a person's own password as `change_password` does; return False when `known` is no longer the hash.

    So a change by somebody else that comes first is not overwritten.
    """
    row = await tx.one(
        "UPDATE users SET valid_from = valid_from WHERE id = $1 AND COALESCE(password_hash, '') = $2 RETURNING id",
        user_id,
        known or "",
    )
    if row is None:
        return False
    await change_password(tx, user_id, password_hash, but=but, actor=user_id, now=now)
    return True


async def end_elsewhere(tx: Transaction, user_id: str, *, but: str, actor: str, now: int) -> list[str]:
    """End every session of a person except `but`, and every grant made in the others (LG-16); return the ended sessions.

    Offline access ends as well, and a pending change of the address.
    """
    ended = await end_sessions_of(tx, user_id, but=but, actor=actor, now=now)
    await forget_links(tx, user_id, "verify_email")
    elsewhere = "user_id = $2 AND session_id <> $3"
    await end_grants(tx, elsewhere, user_id, but, reason="ended with other sessions", actor=actor, now=now)
    return ended


async def _end_all_but(tx: Transaction, user_id: str, *, but: str, actor: str, now: int) -> list[str]:
    """End what `end_elsewhere` does, every other grant, and the person's API tokens: whoever knew the old password keeps nothing (AP-04).

    What was granted in the session that goes on ends as well: somebody else may have talked the person into it (RFC 8628 §5.4).
    """
    ended = await end_elsewhere(tx, user_id, but=but, actor=actor, now=now)
    await _end_live_grants(tx, user_id, reason="ended with the password", actor=actor, now=now)
    # After the sessions, in which tokens are made: none can be made of an ended one any more.
    await revoke_tokens_of(tx, user_id, reason="ended with the password", actor=actor, now=now)
    return ended


async def mail_reset_link(
    tx: Transaction, link: bytes, user_id: str, email: str, *, expires_at: int, now: int
) -> bool:
    """Store a reset link that is mailed to a verified address; return False when that is no longer the account's (LG-21)."""
    if not await hold_address(tx, user_id, email):
        return False
    await create_link(tx, link, purpose=MAILED, subject=user_id, data={}, expires_at=expires_at, now=now)
    return True


async def _hold_account(tx: Transaction, link: bytes) -> None:
    """Lock the account of a link before the link, as whatever ends links does: two links that are used at once wait in one order."""
    held = "SELECT id FROM users WHERE id = (SELECT subject FROM one_time_links WHERE digest = $1) FOR NO KEY UPDATE"
    await tx.one(held, link)


async def _use_reset(tx: Transaction, link: bytes, now: int) -> Link | None:
    return await use_link(tx, link, HANDED_OVER, now) or await use_link(tx, link, MAILED, now)


async def reset_password(
    tx: Transaction, link: bytes, password_hash: str, *, end_all: bool, now: int
) -> str | None:
    """Use up a reset link and set the password; return the account's identifier, or None when the link or the account is gone.

    The address does not become verified: a link is mailed only to a verified one, and any other was handed over by an administrator.
    """
    await _hold_account(tx, link)
    used = await _use_reset(tx, link, now)
    if used is None:
        return None
    user = await get_user(tx, used.subject)
    if user is None or user.disabled_at is not None:
        return None
    but = "" if end_all else None
    await change_password(tx, user.id, password_hash, but=but, actor=user.id, now=now)
    return user.id


async def has_factors(tx: Transaction, user_id: str) -> bool:
    """Whether a person has a passkey or a second factor, which a mailed link must not replace."""
    have = await enrolled(tx, user_id)
    return bool(have.passkeys or have.totp or have.recovery_codes or have.email_code)


async def recover_by_passkey(
    tx: Transaction, link: bytes, made: MadePasskey, *, end_all: bool, now: int
) -> str:
    """Use up a recovery link and store the passkey, both or neither: "kept", "replaced" when that removed a password, "link" when the
    link is gone, or "passkey" when the passkey was refused.

    A link replaces neither a passkey nor a second factor: an administrator has to remove those first (PS-05). The new passkey replaces
    the password, which may be what was compromised.
    """
    user_id = made.stored.user_id
    await _hold_account(tx, link)
    if not (await hold_link(tx, link, HANDED_OVER, now) or await hold_link(tx, link, MAILED, now)):
        return "link"
    user = await get_user(tx, user_id)
    if user is None or user.disabled_at is not None or await has_factors(tx, user_id):
        return "link"
    if not await add_passkey(tx, made, actor=user_id):
        return "passkey"
    used = await _use_reset(tx, link, now)
    assert used is not None  # held above
    assert used.subject == user_id
    replaced = await remove_password(tx, user_id, now)
    if replaced:
        await forget_trust(tx, user_id)
    if end_all:
        await _end_all_but(tx, user_id, but="", actor=user_id, now=now)
    await forget_links_of(tx, user_id)  # the other link to the same end as well
    return "replaced" if replaced else "kept"


async def set_disabled(tx: Transaction, user_id: str, disabled: bool, *, actor: str, now: int) -> str:
    """Disable an account, ending its sessions and grants, or enable it again: "changed", "unknown", or "last" for the last administrator.

    An account that is so already stays as it is, with the time since when it is.
    """
    if disabled and await is_last_admin(tx, user_id):
        return "last"
    row = await tx.one(
        # Tokens that were issued before without a grant must not become valid again with the account.
        "UPDATE users SET disabled_at = $1, valid_from = CASE WHEN $2 = 1 THEN $3 ELSE valid_from END, "
        "proof_epoch = proof_epoch + $2 WHERE id = $4 AND (disabled_at IS NULL) = ($2 = 1) RETURNING id",
        now if disabled else None,
        int(disabled),
        now,
        user_id,
    )
    if row is None:
        return "unknown" if await get_user(tx, user_id) is None else "changed"
    await tx.record("user.disabled" if disabled else "user.enabled", actor=actor, target=user_id, at=now)
    if disabled:
        await end_sessions_of(tx, user_id, actor=actor, now=now)
        await end_grants_of(tx, user_id, reason="account disabled", actor=actor, now=now)
        await forget_links_of(tx, user_id)  # nor may a mailed link, which somebody else may hold by now
    return "changed"


async def _end_live_grants(
    tx: Transaction, user_id: str, client_id: str = "", *, reason: str, actor: str, now: int
) -> int:
    theirs = "user_id = $2 AND ($3 = '' OR client_id = $3)"
    return len(await end_grants(tx, theirs, user_id, client_id, reason=reason, actor=actor, now=now))


async def end_grants_of(
    tx: Transaction, user_id: str, *, reason: str, actor: str, now: int, client_id: str = ""
) -> int:
    """End every grant of a person, or only those to one client, with the consent; return how many were alive.

    That a consent to one client is withdrawn has an event of its own: there may be no live grant that ends with it.
    """
    ended = await _end_live_grants(tx, user_id, client_id, reason=reason, actor=actor, now=now)
    withdrawn = await tx.run(
        "DELETE FROM consents WHERE user_id = $1 AND ($2 = '' OR client_id = $2)", user_id, client_id
    )
    # Again: a grant under way held the consent's row, and became visible only now.
    ended += await _end_live_grants(tx, user_id, client_id, reason=reason, actor=actor, now=now)
    if client_id and withdrawn:
        await tx.record("consent.withdrawn", actor=actor, target=client_id, at=now)
    return ended


async def delete_user(tx: Transaction, user_id: str, *, actor: str, now: int) -> str:
    """Delete an account and end everything that it was issued; the audit trail keeps its identifier, and the name that it was created with.

    Return "changed", "unknown", or "last" for the last administrator.
    """
    if await get_user(tx, user_id) is None:
        return "unknown"
    if await is_last_admin(tx, user_id):
        return "last"
    # Whatever is being added to the account holds its row, and waits for rows that end before it here, such as a browser's.
    await tx.one("SELECT id FROM users WHERE id = $1 FOR UPDATE", user_id)
    await end_sessions_of(tx, user_id, actor=actor, now=now)
    await end_grants_of(tx, user_id, reason="account deleted", actor=actor, now=now)
    await revoke_tokens_of(tx, user_id, reason="account deleted", actor=actor, now=now)
    await revoke_identities_of(tx, ("user", user_id), actor=actor, now=now)
    # Includes links to its verified address: an open invitation would bring the account back, with the rights that it names.
    await tx.run(
        "DELETE FROM one_time_links WHERE subject = $1 OR subject = "
        "(SELECT canonical_email FROM users WHERE id = $1 AND email_verified_at IS NOT NULL)",
        user_id,
    )
    await tx.run("DELETE FROM users WHERE id = $1", user_id)
    await tx.record("user.deleted", actor=actor, target=user_id, at=now)
    return "changed"


async def count_ends(tx: Transaction, user_id: str, now: int) -> tuple[int, int, int]:
    """Return how many sessions, applications and API tokens would end with an account."""
    row = await tx.one(
        f"SELECT (SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND {live_session('$2')}) AS sessions, "  # noqa: S608 - literals
        "(SELECT COUNT(DISTINCT client_id) FROM grants WHERE user_id = $1 AND ended_at IS NULL) AS applications, "
        f"(SELECT COUNT(*) FROM api_tokens WHERE owner_id = $1 AND {live_token('$2')}) AS tokens",
        user_id,
        now,
    )
    assert row is not None
    return row["sessions"], row["applications"], row["tokens"]


async def remove_factors(tx: Transaction, user_id: str, *, actor: str, now: int) -> str:
    """Remove every second factor of an account: "changed", "unchanged" where there is none, or "unknown" when the account is gone."""
    held = "UPDATE users SET proof_epoch = proof_epoch + 1 WHERE id = $1"
    if not await tx.run(held, user_id):
        return "unknown"
    had = await has_factors(tx, user_id)
    await tx.run("UPDATE users SET email_code_on = 0 WHERE id = $1", user_id)
    for table in ("passkeys", "totp_keys", "recovery_codes", "email_codes"):
        await tx.run(f"DELETE FROM {table} WHERE user_id = $1", user_id)  # noqa: S608 - literals
    await forget_trust(tx, user_id)
    if not had:
        return "unchanged"
    await tx.record("user.factors_removed", actor=actor, target=user_id, at=now)
    return "changed"
