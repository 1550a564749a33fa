"""OpenID Connect Discovery §3 and §4.3, RFC 8414 §3.3: what a provider's metadata may say.

Owns the checks of a document that was fetched: its issuer is the one that was configured, its addresses are https and on the
issuer's host or on one that the operator named (SS-02). Fetching is in `fetch`.
"""

import re
from collections.abc import Collection, Iterable

from watchword.credentials.upstream import Provider, UpstreamRefused, read_json
from watchword.jose.jwk import own_name

WELL_KNOWN = "/.well-known/openid-configuration"
# Asymmetric ones only; the order is ours, not the provider's.
ALGORITHMS = ("ES256", "EdDSA", "PS256", "RS256", "ES384", "PS384", "RS384", "ES512", "PS512", "RS512")
# Providers that are known to have endpoints on other hosts than their issuer's.
KNOWN_HOSTS: dict[str, frozenset[str]] = {
    "https://accounts.google.com": frozenset(
        {"oauth2.googleapis.com", "www.googleapis.com", "openidconnect.googleapis.com"}
    ),
}
# Providers that do not publish `prompt_values_supported` and answer `prompt=login` with an error.
KNOWN_PROMPTS: dict[str, tuple[str, ...]] = {
    "https://accounts.google.com": ("none", "consent", "select_account"),
}
# Providers that return no `auth_time`, or only by arrangement, even when asked for a `max_age`.
KNOWN_SILENT = frozenset({"https://accounts.google.com", "https://appleid.apple.com"})
MICROSOFT = re.compile(r"https://login\.microsoftonline\.com/[0-9a-f-]{36}/v2\.0")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?P<port>:[1-9][0-9]{{0,4}})?"
    r"(?P<path>/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?(?P<query>\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?"
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1"})


def tells_time(issuer: str) -> bool:
    """Whether an issuer returns `auth_time` when it is asked for a `max_age`, as far as is known."""
    return issuer not in KNOWN_SILENT and MICROSOFT.fullmatch(issuer) is None


def discovery_url(issuer: str, *, allow_loopback: bool = False) -> str:
    """Return where a provider's metadata is; raise UpstreamRefused for what cannot be an issuer."""
    found = _address(issuer, allow_loopback)
    if found is None or found["query"]:  # Discovery §3: no query, no fragment
        raise UpstreamRefused("issuer", "an issuer is an https address without a query")
    return issuer.removesuffix("/") + WELL_KNOWN


def check_discovery(
    document: bytes,
    *,
    issuer: str,
    client_id: str,
    extra_hosts: Collection[str] = (),
    allow_loopback: bool = False,
    form_post: bool = False,
) -> Provider:
    """Return the provider that a fetched document describes; raise UpstreamRefused.

    With `form_post` it is asked to send its answers as forms.
    """
    discovery_url(issuer, allow_loopback=allow_loopback)
    metadata = read_json(document)
    if not isinstance(metadata, dict):
        raise UpstreamRefused("discovery", "not an object")
    if metadata.get("issuer") != issuer:  # §4.3: exactly
        raise UpstreamRefused("issuer", "the document is another issuer's")
    hosts = _hosts(issuer, extra_hosts)

    def endpoint(name: str) -> str:
        found = _address(metadata.get(name), allow_loopback)
        if found is None or found["host"] not in hosts:
            raise UpstreamRefused("endpoint", name)
        return found[0]

    return Provider(
        issuer=issuer,
        client_id=client_id,
        authorization_endpoint=endpoint("authorization_endpoint"),
        token_endpoint=endpoint("token_endpoint"),
        jwks_uri=endpoint("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint") if "userinfo_endpoint" in metadata else None,
        algorithms=_algorithms(metadata.get("id_token_signing_alg_values_supported", ["RS256"])),
        says_iss=metadata.get("authorization_response_iss_parameter_supported") is True,
        takes_claims=metadata.get("claims_parameter_supported") is True,
        prompts=_prompts(issuer, metadata.get("prompt_values_supported")),
        tells_time=tells_time(issuer),
        form_post=form_post and _takes_form_post(metadata.get("response_modes_supported")),
        basic=_takes_basic(metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])),
    )


def _prompts(issuer: str, told: object) -> tuple[str, ...] | None:
    """Return the values of `prompt` that a provider supports (Initiating User Registration §4.1), if it says so or they are known."""
    if isinstance(told, list):
        return tuple(one for one in told if isinstance(one, str))
    return KNOWN_PROMPTS.get(issuer)


def _takes_form_post(modes: object) -> bool:
    if modes is not None and not (isinstance(modes, list) and "form_post" in modes):
        raise UpstreamRefused("discovery", "response_modes_supported has no form_post")
    return True


def _takes_basic(methods: object) -> bool:
    """Discovery §3: use client_secret_basic where it is supported, or where the document does not say: it is the default."""
    return isinstance(methods, list) and "client_secret_basic" in methods


def _hosts(issuer: str, extra_hosts: Iterable[str]) -> frozenset[str]:
    own = issuer.split("/")[2].partition(":")[0]
    known = KNOWN_HOSTS.get(issuer, frozenset())
    if MICROSOFT.fullmatch(issuer):
        known = frozenset({"graph.microsoft.com"})
    return frozenset({own, *extra_hosts}) | known


def _address(value: object, allow_loopback: bool) -> re.Match[str] | None:
    found = _URL.fullmatch(value) if isinstance(value, str) and len(value) <= 2000 else None
    if found is None or int((found["port"] or ":443")[1:]) > 65535:
        return None
    plain = found["scheme"] == "http"
    return None if plain and not (allow_loopback and found["host"] in _LOOPBACK) else found


def _algorithms(offered: object) -> tuple[str, ...]:
    if not isinstance(offered, list):
        raise UpstreamRefused("discovery", "id_token_signing_alg_values_supported")
    names = {own_name(name) for name in offered if isinstance(name, str)}
    common = tuple(name for name in ALGORITHMS if name in names)
    if not common:  # never "none", never with a shared secret
        raise UpstreamRefused("discovery", "no algorithm in common")
    return common
