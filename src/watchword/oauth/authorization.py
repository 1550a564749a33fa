"""RFC 6749 §4.1.1, RFC 9700 and OpenID Connect Core §3.1.2.1: the rules for authorization requests.

Owns the way from decoded parameters to a frozen `AuthorizationRequest`, with every check that needs neither the person nor the store.
What the person then has to do is decided in `interaction`, the response is built in `authorization_response`. A signed request object
is opened by `request_object` first; pushed parameters are checked here when they are pushed.

Errors come in two kinds. Until client and redirect URI are verified there is nowhere to redirect to: a plain `OAuthError` is shown
on a page. From then on a `RedirectError` is raised, which carries where the response goes.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from watchword.oauth import authorization_details, claims_request, pkce, redirect_uri
from watchword.oauth.authorization_details import DetailType
from watchword.oauth.claims_request import NOTHING, ClaimsRequest
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess, for_people, parse_scope
from watchword.oauth.targets import resolve_audience

ResponseMode = Literal["query", "form_post"]
Prompt = Literal["none", "login", "consent", "select_account", "create"]
Display = Literal["page", "popup", "touch", "wap"]

RESPONSE_MODES: tuple[ResponseMode, ...] = ("query", "form_post")
PROMPTS: tuple[Prompt, ...] = ("none", "login", "consent", "select_account", "create")
DISPLAYS: tuple[Display, ...] = ("page", "popup", "touch", "wap")

# In characters; a request that exceeds one is refused before its values are parsed.
MAX_LENGTHS = {
    "state": 2048,
    "nonce": 2048,
    "response_type": 100,
    "response_mode": 100,
    "prompt": 200,
    "max_age": 10,
    "login_hint": 320,
    "id_token_hint": 16_384,
    "acr_values": 1000,
    "ui_locales": 1000,
    "display": 50,
    "dpop_jkt": 43,
    "code_challenge_method": 20,
}
# All other parameters are ignored, and dropped from a pushed request.
PARAMETERS = frozenset(
    {
        *MAX_LENGTHS,
        *("client_id", "redirect_uri", "scope", "code_challenge", "claims", "authorization_details"),
        *("request", "request_uri", "registration"),
    }
)
MAX_RESOURCES = 10
ANY_AGE = 10 * 365 * 86_400  # seconds: a `max_age` that only demands that the time of the sign-in is known
MAX_LISTED = 20

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request, as it is kept while the person signs in and consents; `max_age` in seconds."""

    client_id: str
    redirect_uri: str
    redirect_uri_sent: bool
    response_mode: ResponseMode = "query"
    scope: tuple[str, ...] = ()
    state: str | None = None
    nonce: str | None = None
    code_challenge: str | None = None
    prompt: tuple[Prompt, ...] = ()
    max_age: int | None = None
    login_hint: str | None = None
    id_token_hint: str | None = None
    acr_values: tuple[str, ...] = ()
    ui_locales: tuple[str, ...] = ()
    claims: ClaimsRequest = NOTHING
    display: Display = "page"
    audience: tuple[str, ...] = ()
    authorization_details: tuple[dict[str, object], ...] = ()
    dpop_jkt: str | None = None

    @property
    def is_openid(self) -> bool:
        """Whether an ID token was asked for."""
        return "openid" in self.scope


class Rules(msgspec.Struct, frozen=True):
    """Settings of the server: the resource of requests that name none, its `authorization_details` types, and whether people may sign up."""

    default_resource: str
    detail_types: Mapping[str, DetailType] = msgspec.field(default_factory=dict)
    registers: bool = False


class RedirectError(OAuthError):
    """A refusal that is sent to the client's verified redirect URI."""

    def __init__(
        self, error: OAuthError, target: str, response_mode: ResponseMode, state: str | None
    ) -> None:
        super().__init__(
            error.code,
            error.description,
            detail=error.detail,
            field=error.field,
            retry_after=error.retry_after,
        )
        self.redirect_uri = target
        self.response_mode = response_mode
        self.state = state


def decide(
    parameters: Mapping[str, str],
    client: Client,
    rules: Rules,
    *,
    resources: tuple[str, ...] = (),
    pushed: bool = False,
    signed: bool = False,
    proven_jkt: str | None = None,
) -> AuthorizationRequest:
    """Check an authorization request of a known, enabled client.

    `parameters` are decoded and single-valued, empty ones included; `resources` are all values of `resource`. `pushed` says
    that they came through the PAR endpoint, `signed` that they came inside a verified request object; `proven_jkt` is the key of a
    DPoP proof that came with a pushed request. Raises OAuthError (to be shown) or RedirectError (to be sent).
    """
    sent = {name: value for name, value in parameters.items() if value}  # §3.1: empty means omitted
    _check_authority(sent, client)
    target = redirect_uri.check_requested(_redirect_of(sent, client), client.redirect_uris)
    state, mode = _state_of(sent), _mode_for_errors(sent)
    try:
        _check_shape(parameters, sent)
        return _build(sent, client, rules, target, resources, pushed, signed, proven_jkt)
    except OAuthError as error:
        if not error.rule.redirectable:
            raise
        raise RedirectError(error, target, mode, state) from None


def answerable(error: OAuthError, parameters: Mapping[str, str], client: Client) -> OAuthError:
    """Return how to refuse a request whose request object cannot be read: by redirect when the outer parameters name a registered
    redirect URI, else on a page.

    Anybody could have added the outer parameters, but a registered address is the client's own.
    """
    sent = {name: value for name, value in parameters.items() if value}
    try:
        target = redirect_uri.check_requested(sent.get("redirect_uri"), client.redirect_uris)
        state = _state_of(sent)
    except OAuthError:
        return error
    return RedirectError(error, target, _mode_for_errors(sent), state) if error.rule.redirectable else error


def _check_authority(sent: Mapping[str, str], client: Client) -> None:
    if sent.get("client_id", client.client_id) != client.client_id:
        raise OAuthError(
            "invalid_request", "The parameter client_id names another client.", field="client_id"
        )
    if "authorization_code" not in client.grant_types:
        raise OAuthError(
            "unauthorized_client", "This client is not registered for the authorization endpoint."
        )


def _redirect_of(sent: Mapping[str, str], client: Client) -> str | None:
    requested = sent.get("redirect_uri")
    is_named = "openid" in sent.get("scope", "").split(" ")  # OpenID Connect Core §3.1.2.1
    is_named = is_named or client.security_profile == "fapi2"  # FAPI 2.0 §5.3.2.2
    if requested is None and is_named:
        raise OAuthError("invalid_request", "The parameter redirect_uri is missing.", field="redirect_uri")
    return requested


def _state_of(sent: Mapping[str, str]) -> str | None:
    # `state` has to be echoed exactly. If it cannot be, the refusal is shown on a page, not sent without it.
    state = sent.get("state")
    if state is not None and (len(state) > MAX_LENGTHS["state"] or _CONTROL.search(state)):
        raise OAuthError(
            "invalid_request", "The state is too long or has a control character.", field="state"
        )
    return state


def _mode_for_errors(sent: Mapping[str, str]) -> ResponseMode:
    return "form_post" if sent.get("response_mode") == "form_post" else "query"


def _check_shape(parameters: Mapping[str, str], sent: Mapping[str, str]) -> None:
    for name, value in sent.items():
        if len(value) > MAX_LENGTHS.get(name, 65_536) or (name in MAX_LENGTHS and _CONTROL.search(value)):
            raise OAuthError(
                "invalid_request", "A parameter is too long or has a control character.", field=name
            )
    for name in ("code_challenge", "code_challenge_method"):
        if parameters.get(name) == "":  # "empty means omitted" must not switch PKCE off (PK-06)
            raise OAuthError("invalid_request", f"The parameter {name} is empty.", field=name)
    if "request" in sent:  # an opened request object arrives as its parameters, and never holds another
        raise OAuthError("request_not_supported", "A request object is not accepted here.", field="request")
    if "request_uri" in sent:  # RFC 9126 §2.1
        raise OAuthError("invalid_request", "request_uri does not belong here.", field="request_uri")
    if "registration" in sent:
        raise OAuthError("registration_not_supported", "The parameter registration is not supported.")


def _build(
    sent: Mapping[str, str],
    client: Client,
    rules: Rules,
    target: str,
    resources: tuple[str, ...],
    pushed: bool,
    signed: bool,
    proven_jkt: str | None,
) -> AuthorizationRequest:
    _check_response_type(sent)
    mode = _response_mode(sent)
    _check_channel(client, pushed, signed)
    scope = _scope(sent, client)
    challenge = pkce.check_challenge(sent.get("code_challenge"), sent.get("code_challenge_method"))
    _check_pkce(challenge, client, scope, sent.get("nonce"))
    return AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=target,
        redirect_uri_sent="redirect_uri" in sent,
        response_mode=mode,
        scope=scope,
        state=sent.get("state"),
        nonce=sent.get("nonce"),
        code_challenge=challenge,
        prompt=_prompt(sent, rules),
        max_age=_max_age(sent, client),
        login_hint=sent.get("login_hint"),
        id_token_hint=sent.get("id_token_hint"),
        acr_values=_listed(sent, "acr_values") or client.default_acr_values,
        ui_locales=tuple(tag for tag in _listed(sent, "ui_locales") if _LOCALE.fullmatch(tag)),
        claims=claims_request.parse(sent.get("claims")),
        display=_display(sent),
        audience=_audience(resources, client, rules),
        authorization_details=_details(sent, client, rules),
        dpop_jkt=_dpop_jkt(sent, proven_jkt),
    )


def _check_response_type(sent: Mapping[str, str]) -> None:
    if "response_type" not in sent:
        raise OAuthError("invalid_request", "The parameter response_type is missing.", field="response_type")
    if sent["response_type"] != "code":  # RFC 9700 §2.1.2: nothing else exists here
        raise OAuthError(
            "unsupported_response_type", "The only response_type is code.", field="response_type"
        )


def _response_mode(sent: Mapping[str, str]) -> ResponseMode:
    wanted = sent.get("response_mode", "query")
    for mode in RESPONSE_MODES:
        if mode == wanted:
            return mode
    raise OAuthError(
        "invalid_request", "The response_mode must be query or form_post.", field="response_mode"
    )


def _check_channel(client: Client, pushed: bool, signed: bool) -> None:
    needs_push = client.require_pushed_authorization_requests or client.security_profile == "fapi2"
    if needs_push and not pushed:  # RFC 9126 §6
        raise OAuthError("invalid_request", "This client must push its authorization requests.")
    if client.require_signed_request_object and not signed:  # RFC 9101 §10.5
        raise OAuthError("invalid_request", "This client must sign its authorization requests.")


def _scope(sent: Mapping[str, str], client: Client) -> tuple[str, ...]:
    requested = parse_scope(sent.get("scope", ""))
    allowed = for_people(client.scope)
    # RFC 6749 §3.3: the registered default, except with authorization_details (RFC 9396 §3.1)
    if not requested:
        return () if "authorization_details" in sent else allowed
    known = tuple(scope for scope in requested if scope in allowed)
    # OpenID Connect Core §3.1.2.1: unknown scopes are ignored; the token response says what was granted.
    if not known or (known != requested and "openid" not in known):
        raise excess("A requested scope is not registered for this client.", requested, allowed)
    return known


def _check_pkce(challenge: str | None, client: Client, scope: tuple[str, ...], nonce: str | None) -> None:
    if challenge is not None:
        return
    may_rely_on_nonce = (  # RFC 9700 §2.1.1
        not client.require_pkce and not client.is_public and client.security_profile == "default"
    )
    if not may_rely_on_nonce:
        raise OAuthError(
            "invalid_request", "The parameter code_challenge is missing.", field="code_challenge"
        )
    if "openid" not in scope or nonce is None:
        raise OAuthError(
            "invalid_request", "Send a code_challenge, or the scope openid with a nonce.", field="nonce"
        )


def _listed(sent: Mapping[str, str], name: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(value for value in sent.get(name, "").split(" ") if value))
    return values[:MAX_LISTED]


def prompts(registers: bool) -> tuple[Prompt, ...]:
    """Return the supported `prompt` values (Initiating User Registration §4.2); all others are refused."""
    return PROMPTS if registers else PROMPTS[:-1]


def _prompt(sent: Mapping[str, str], rules: Rules) -> tuple[Prompt, ...]:
    wanted = _listed(sent, "prompt")
    if "create" in wanted and not rules.registers:
        raise OAuthError(
            "invalid_request",
            "Sign-up is not open here: leave prompt=create out.",
            field="prompt",
        )
    if any(value not in PROMPTS for value in wanted):
        raise OAuthError("invalid_request", "The prompt has an unknown value.", field="prompt")
    for alone in ("none", "create"):  # OpenID Connect Core §3.1.2.1, Initiating User Registration §4.1
        if alone in wanted and len(wanted) > 1:
            raise OAuthError(
                "invalid_request", f"prompt={alone} cannot be combined with other values.", field="prompt"
            )
    return tuple(prompt for prompt in PROMPTS if prompt in wanted)


def _max_age(sent: Mapping[str, str], client: Client) -> int | None:
    text = sent.get("max_age")
    if text is None:  # OpenID Connect Registration §2: the client's defaults
        if client.default_max_age is not None:
            return client.default_max_age
        return ANY_AGE if client.require_auth_time else None
    if not text.isascii() or not text.isdigit():
        raise OAuthError("invalid_request", "The max_age must be a whole number of seconds.", field="max_age")
    return int(text)


def _display(sent: Mapping[str, str]) -> Display:
    wanted = sent.get("display")
    return next((display for display in DISPLAYS if display == wanted), "page")


def _audience(resources: tuple[str, ...], client: Client, rules: Rules) -> tuple[str, ...]:
    if len(resources) > MAX_RESOURCES:
        raise OAuthError("invalid_target", "The request names too many resources.", field="resource")
    return resolve_audience(resources, client.resources, rules.default_resource)


def _details(sent: Mapping[str, str], client: Client, rules: Rules) -> tuple[dict[str, object], ...]:
    text = sent.get("authorization_details")
    if text is None:
        return ()
    return authorization_details.parse(text, rules.detail_types, client.authorization_details_types)


def _dpop_jkt(sent: Mapping[str, str], proven_jkt: str | None) -> str | None:
    stated = sent.get("dpop_jkt")
    if stated is not None and not _THUMBPRINT.fullmatch(stated):
        raise OAuthError("invalid_request", "The dpop_jkt is not a thumbprint.", field="dpop_jkt")
    if stated is not None and proven_jkt is not None and stated != proven_jkt:  # RFC 9449 §10.1
        raise OAuthError("invalid_dpop_proof", "The dpop_jkt is not the key of the proof.", field="dpop_jkt")
    return stated or proven_jkt
