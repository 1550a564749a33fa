"""The console's signing keys: which are published, which one signs, which takes over when; rotation, and revocation of a leaked one."""

from watchword.http import Request, Response
from watchword.oauth.errors import OAuthError
from watchword.pages import account
from watchword.pages.account import Person
from watchword.pages.console import frame
from watchword.store.keys import StoredKey

ORDER = ("current", "announced", "next", "retiring", "unused")
TYPED = 6  # characters of a key's identifier to type for its revocation


async def show(request: Request) -> Response:
    """List the published keys by algorithm."""
    return await answer_list(request, await frame.require(request))


async def answer_list(
    request: Request, person: Person, problem: str | None = None, status: int = 200
) -> Response:
    """Answer the list, with a `problem` where an action was refused, or where it is shown in place of something else."""
    settings = request.runtime.settings
    keys = await request.runtime.keyring.states()
    algorithms = dict.fromkeys((*settings.signing_algorithms, *(key.algorithm for key, _ in keys)))
    context = {
        "action": frame.address(request, "keys"),
        "algorithms": [_algorithm(request, name, keys) for name in algorithms],
        "published_url": f"{settings.issuer}/.well-known/jwks.json",
        "errors": {"form": problem} if problem else {},
    }
    return frame.page(request, person, "keys", context, status=status)


def _algorithm(request: Request, name: str, keys: list[tuple[StoredKey, str]]) -> dict[str, object]:
    return {
        "name": name,
        "signs": name in request.runtime.settings.signing_algorithms,
        "next": _following(keys, name),
        "published": _ordered([_view(request, key, state) for key, state in keys if key.algorithm == name]),
    }


def _ordered(views: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return keys in the order of their succession: the one that signs, those that take over, those that retire."""
    return sorted(views, key=lambda view: ORDER.index(str(view["state"])))


def _following(keys: list[tuple[StoredKey, str]], algorithm: str) -> str:
    """Return which key the next rotation promotes, empty when there is none."""
    waiting = [key for key, _ in keys if key.activates_at is None]
    return next((key.kid for key in waiting if key.algorithm == algorithm), "")


def _view(request: Request, key: StoredKey, state: str) -> dict[str, object]:
    settings = request.runtime.settings
    begins, rotates = key.activates_at, None
    if state == "next" and begins is not None:
        state = "announced"
    elif state == "current" and begins is not None and key.retires_at is None:
        rotates = begins + settings.signing_key_lifetime
    return {
        "kid": key.kid,
        "url": frame.address(request, "keys", key.kid),
        "algorithm": key.algorithm,
        "state": state,
        "created_at": key.created_at,
        "activates_at": begins,
        "retires_at": key.retires_at,
        "rotates_at": rotates,
    }


async def rotate(request: Request) -> Response:
    """Let the next key of an algorithm take over."""
    found = await frame.require_fresh(request)
    form, keyring = account.form_of(request, found), request.runtime.keyring
    algorithm = form.get("algorithm") or ""
    if algorithm not in request.runtime.settings.signing_algorithms:
        raise OAuthError(
            "invalid_request", "This server does not sign with that algorithm.", field="algorithm"
        )
    inside = frame.acting(request, found).database
    # The form names the key that it promotes, so that a second click or an old page does not rotate again.
    seen = form.get("next") or ""
    if not await keyring.rotate(algorithm, actor=found[1].id, expected=seen, database=inside):
        return await answer_list(request, found, "key_rotated_meanwhile", 409)
    return frame.done(request, "key_rotated", "keys")


async def show_one(request: Request) -> Response:
    """Show one key, with the form that revokes it."""
    return await _one(request, await frame.require(request))


async def _one(
    request: Request, person: Person, errors: dict[str, object] | None = None, typed: str = ""
) -> Response:
    key, state = await _find(request)
    context = {
        "action": frame.address(request, "keys", key.kid),
        "key": _view(request, key, state),
        "typed": TYPED,
        "values": {"beginning": typed},
        "events_url": f"{frame.address(request, 'events')}?target={key.kid}",
        "errors": errors or {},
    }
    return frame.page(request, person, "keys", context, template="key", status=400 if errors else 200)


async def _find(request: Request) -> tuple[StoredKey, str]:
    kid = request.path_params["kid"]
    found = next((one for one in await request.runtime.keyring.states() if one[0].kid == kid), None)
    if found is None:
        raise OAuthError("not_found", "There is no such key.")
    return found


async def withdraw(request: Request) -> Response:
    """Revoke a leaked key, if the beginning of its identifier was typed."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    key, _ = await _find(request)
    typed = (form.get("beginning") or "").strip()
    if len(typed) < TYPED or not key.kid.startswith(typed):
        return await _one(request, found, {"beginning": "beginning_wrong"}, typed)
    inside = frame.acting(request, found).database
    if not await request.runtime.keyring.revoke(key.kid, actor=found[1].id, database=inside):
        raise OAuthError("not_found", "There is no such key.")
    return frame.done(request, "key_withdrawn", "keys")
