"""What an endpoint demands of its callers, as plain values, and the refusal when they lack it."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from watchword.guard.misuse import check_flag, check_names, check_predicate, check_scopes, check_seconds
from watchword.guard.principal import Kind, Principal
from watchword.oauth import dpop
from watchword.oauth.bearer import challenge

# The server's own `acr` values, weakest first: a stronger one satisfies a policy that asks for a weaker one.
LEVELS = ("urn:watchword:aal0", "urn:watchword:aal1", "urn:watchword:aal2", "urn:watchword:aal2-phr")


class Refused(Exception):
    """The request is refused; `status` and `headers` are the response that the protocol prescribes.

    `error` is None if the request had no credential at all (RFC 6750 §3.1 allows no error code then).
    """

    def __init__(
        self, status: int, error: str | None, description: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description
        self.headers = headers

    def __reduce__(self) -> tuple[type["Refused"], tuple[object, ...]]:
        """Make refusals picklable: a process pool breaks, or hangs, over an exception that it cannot unpickle."""
        return type(self), (self.status, self.error, self.description, self.headers)

    def fields(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of the HTTP response, including `Cache-Control: no-store`."""
        return (*self.headers, ("Cache-Control", "no-store"))

    def document(self) -> dict[str, str]:
        """Return the body of the response, for JSON."""
        return {"error": self.error or "unauthorized", "error_description": self.description}


class _NotDemanded(tuple[Any, ...]):
    """The default of a field: empty, but distinguishable from an empty tuple that was passed."""

    __slots__ = ()


NOT_DEMANDED: tuple[Any, ...] = _NotDemanded()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a caller needs. Every field adds a demand, none lifts one.

    - `scopes`: all of these scopes.
    - `any_scopes`, `audience`, `kinds`, `acr`: at least one of each; for `acr`, any of Watchword's levels above it will do too. An empty
      sequence raises ValueError, since nobody could satisfy it: leave out what you don't demand.
    - `max_age`: a sign-in at most this many seconds old.
    - `bound`: a token that is bound to a key or a certificate.
    - `predicate`: a function of the `Principal` that returns True or False synchronously.
    """

    scopes: tuple[str, ...] = ()
    any_scopes: tuple[str, ...] = NOT_DEMANDED
    audience: tuple[str, ...] = NOT_DEMANDED
    kinds: tuple[Kind, ...] = NOT_DEMANDED
    acr: tuple[str, ...] = NOT_DEMANDED
    max_age: int | None = None
    bound: bool = False
    predicate: Callable[[Principal], bool] | None = None

    def __post_init__(self) -> None:
        for name in ("scopes", "any_scopes"):
            check_scopes(name, getattr(self, name))
        for name in ("audience", "kinds", "acr"):
            check_names(name, getattr(self, name))
        for name in ("any_scopes", "audience", "kinds", "acr"):
            given = getattr(self, name)
            # Perhaps from a missing setting, which must not open anything.
            if not given and not isinstance(given, _NotDemanded):
                raise ValueError(f"{name} is empty: name what is enough, or leave it out to demand none")
        if unknown := set(self.kinds) - set(get_args(Kind)):
            raise ValueError(
                f"kinds: name some of {', '.join(get_args(Kind))}, not {', '.join(sorted(unknown))}"
            )
        if self.max_age is not None:
            check_seconds("max_age", self.max_age)
        check_predicate(self.predicate)
        check_flag("bound", self.bound)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Raise TypeError where FastAPI would read a policy from the request: somebody wrote `Depends(guard.require)` without calling it."""
        if handler.field_name is None:
            raise TypeError(
                "call require before it guards: Depends(guard.require(…)), not Depends(guard.require)"
            )
        return handler(source)


OPEN = Policy()
AHEAD = 60  # seconds that an issuer's clock may be ahead; an `auth_time` further ahead is no Unix time (milliseconds, for example)


def check_policy(field: str, given: object) -> None:
    """Raise ValueError for what is not a policy, which would otherwise fail only with the first request."""
    if not isinstance(given, Policy):
        raise ValueError(f'{field}: a Policy, such as Policy(scopes=("orders:read",)), not {given!r}')


def demanded(scopes: tuple[str, ...], policy: Policy | None, name: str = "require") -> Policy:
    """Return the policy of `require(*scopes, policy=…)`, or of `name`: the scopes are needed in addition to what the policy demands."""
    given: tuple[object, ...] = scopes
    for one in given:
        if isinstance(one, Policy):
            raise ValueError(f"policy: give it by its name, {name}(policy=…)")
        if callable(one):
            raise ValueError(
                f"call {name} before it guards: @guard.{name}(), not @guard.{name} above {one!r}"
            )
        if not isinstance(one, str) or len(one.split()) != 1:
            raise ValueError(
                f'scopes: name each by itself, such as {name}("orders:read", "orders:write"), not {one!r}'
            )
    if policy is not None:
        check_policy("policy", policy)
    return Policy(scopes=scopes) if policy is None else replace(policy, scopes=(*policy.scopes, *scopes))


def check(
    policy: Policy,
    principal: Principal,
    *,
    now: float,
    scheme: str,
    metadata: str | None,
    algs: str = dpop.ALGS,
) -> None:
    """Raise Refused when a caller does not meet a policy; all missing scopes are named at once."""
    refused = functools.partial(refuse, metadata=metadata, algs=algs)
    if policy.audience and not set(policy.audience).intersection(principal.audience):
        raise refused(401, "invalid_token", "The token is meant for another API.", scheme)
    missing = [scope for scope in policy.scopes if scope not in principal.scopes]
    lacks_any = bool(policy.any_scopes) and not principal.scopes.intersection(policy.any_scopes)
    if missing or lacks_any:
        any_scopes = policy.any_scopes if lacks_any else ()
        needs = _needs(policy.scopes, any_scopes)
        named = " ".join((*policy.scopes, *any_scopes))
        raise refused(403, "insufficient_scope", needs, scheme, scope=named)
    if policy.kinds and principal.kind not in policy.kinds:
        raise refused(403, "insufficient_scope", "This kind of credential is not accepted here.", scheme)
    if policy.bound and principal.jkt is None and principal.x5t is None:
        raise refused(401, "invalid_token", "The token must be bound to a key or certificate.", "DPoP")
    if _lacks_authentication(policy, principal, now):  # RFC 9470 §3
        words = "A stronger or more recent sign-in is needed."
        acr_values = " ".join(policy.acr) or None
        max_age = None if policy.max_age is None else str(policy.max_age)
        raise refused(
            401, "insufficient_user_authentication", words, scheme, acr_values=acr_values, max_age=max_age
        )
    if policy.predicate is not None:
        answer: object = policy.predicate(principal)
        if isinstance(answer, Awaitable | AsyncIterator | Iterator):  # always truthy
            raise TypeError(
                "the predicate of a policy must be synchronous, not return an awaitable or an iterator"
            )
        # For example an exception that was returned instead of raised, or a tuple with a reason.
        if answer and answer is not True:
            raise TypeError(
                f"the predicate of a policy must return True or False, not a {type(answer).__name__}: wrap it in bool(…) if it means True"
            )
        if not answer:
            raise Refused(403, "access_denied", "This caller may not do this.", ())


def _needs(scopes: tuple[str, ...], any_scopes: tuple[str, ...]) -> str:
    """Say which scopes are needed, so that the error alone tells a developer what to ask for."""
    one = f"one of the scopes {' '.join(any_scopes)}" if any_scopes else ""
    all_of = f"the scope{'s' if len(scopes) > 1 else ''} {' '.join(scopes)}" if scopes else ""
    return f"This needs {' and '.join(part for part in (all_of, one) if part)}."


def _lacks_authentication(policy: Policy, principal: Principal, now: float) -> bool:
    too_weak = bool(policy.acr) and not _reaches(principal.acr, policy.acr)
    age = None if principal.auth_time is None else now - principal.auth_time
    too_old = policy.max_age is not None and (age is None or not -AHEAD <= age <= policy.max_age)
    return too_weak or too_old


def _reaches(acr: str | None, wanted: Sequence[str]) -> bool:
    if acr is None or acr in wanted:
        return acr is not None
    least = [LEVELS.index(value) for value in wanted if value in LEVELS]
    return acr in LEVELS and bool(least) and LEVELS.index(acr) >= min(least)


def refuse(
    status: int,
    error: str | None,
    description: str,
    scheme: str,
    metadata: str | None,
    algs: str = dpop.ALGS,
    **parameters: str | None,
) -> Refused:
    """Return a refusal with its challenge (RFC 6750 §3, RFC 9728 §5.1); `algs` are the algorithms that proofs may have (RFC 9449 §7.1)."""
    value = challenge(
        scheme,
        {
            "error": error,
            "error_description": description if error else None,
            **parameters,
            "algs": algs if scheme == "DPoP" else None,
            "resource_metadata": metadata,
        },
    )
    return Refused(status, error, description, (("WWW-Authenticate", value),))
