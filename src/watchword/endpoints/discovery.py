"""RFC 8414 and OpenID Connect Discovery: the server's metadata, and its public keys (RFC 7517)."""

import hashlib
from functools import lru_cache
from pathlib import Path

from watchword.credentials.methods import LEVELS
from watchword.flows import profiles
from watchword.flows.client_auth import CLIENT_AUTH
from watchword.flows.keyring import JWKS_MAX_AGE
from watchword.flows.users import sign_up
from watchword.grants import GRANTS
from watchword.http import Request, Response, json_response
from watchword.jose import jwe
from watchword.jose.jws import NAMES
from watchword.oauth import authorization, identity_assertion
from watchword.oauth.answers import KINDS
from watchword.oauth.claims import SIGN_IN_SCOPES
from watchword.oauth.scopes import is_reserved
from watchword.settings import Settings

PROTOCOL_CLAIMS = ("sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash")
CACHED = ((b"cache-control", f"public, max-age={JWKS_MAX_AGE}".encode()),)


def metadata(settings: Settings, *, registers: bool) -> dict[str, object]:
    """Return the metadata document; `registers` says whether people can sign up."""
    issuer = settings.issuer
    methods = [name for name in CLIENT_AUTH if settings.takes_certificates or "tls_client" not in name]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "introspection_endpoint": f"{issuer}/introspect",
        "watchword_exposure_endpoint": f"{issuer}/exposed",
        "watchword_revocations_endpoint": f"{issuer}/revocations",
        "revocation_endpoint": f"{issuer}/revoke",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": list(GRANTS),
        "identity_chaining_requested_token_types_supported": [identity_assertion.TOKEN_TYPE],
        "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": _scopes(settings),
        "subject_types_supported": ["public", "pairwise"],
        **_protections(settings),
        "claims_supported": _claims(settings),
        "claims_parameter_supported": True,
        **_requests(settings),
        "prompt_values_supported": list(authorization.prompts(registers)),
        "acr_values_supported": list(LEVELS[1:3]),
        "ui_locales_supported": _languages(settings.template_directory),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(NAMES),
        "introspection_endpoint_auth_methods_supported": [method for method in methods if method != "none"],
        "introspection_endpoint_auth_signing_alg_values_supported": list(NAMES),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": list(NAMES),
        "dpop_signing_alg_values_supported": list(NAMES),
        "client_id_metadata_document_supported": settings.client_documents,
        "tls_client_certificate_bound_access_tokens": settings.takes_certificates,
        **_logout(settings),
        **_aliases(settings),
        **({"registration_endpoint": f"{issuer}/register"} if settings.registration != "off" else {}),
    }


@lru_cache(maxsize=4)
def _languages(directory: str | None) -> list[str]:
    """Return the languages of the pages: the packaged ones, and those that the operator added as files, read once as the pages do."""
    own = Path(directory, "locales").glob("*.toml") if directory else ()
    return list(dict.fromkeys(["en", "de", *sorted(path.stem for path in own)]))


def _requests(settings: Settings) -> dict[str, object]:
    """Return the metadata about authorization requests: signed (RFC 9101), pushed (RFC 9126), rich (RFC 9396)."""
    return {
        "request_parameter_supported": True,
        "request_object_signing_alg_values_supported": list(NAMES),
        "request_uri_parameter_supported": False,  # only those of pushed requests (RFC 9126 §5)
        "require_request_uri_registration": False,
        "require_pushed_authorization_requests": False,
        "require_signed_request_object": False,
        "authorization_details_types_supported": list(settings.authorization_details),
    }


def _logout(settings: Settings) -> dict[str, object]:
    return {
        "end_session_endpoint": f"{settings.issuer}/logout",
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
    }


def _aliases(settings: Settings) -> dict[str, object]:
    # RFC 8705 §5: separate addresses for clients with certificates, so that people's browsers are not asked for one
    if settings.mtls_address is None or not settings.takes_certificates:
        return {}
    paths = {
        "token_endpoint": "/token",
        "pushed_authorization_request_endpoint": "/par",
        "device_authorization_endpoint": "/device_authorization",
        "introspection_endpoint": "/introspect",
        "revocation_endpoint": "/revoke",
        "userinfo_endpoint": "/userinfo",
    }
    return {"mtls_endpoint_aliases": {name: settings.mtls_address + path for name, path in paths.items()}}


def _protections(settings: Settings) -> dict[str, object]:
    # OpenID Connect Discovery §3, RFC 9701 §7: the same for each kind of answer
    supported: dict[str, object] = {}
    for kind in KINDS:
        supported[f"{kind}_signing_alg_values_supported"] = list(settings.signing_algorithms)
        supported[f"{kind}_encryption_alg_values_supported"] = list(jwe.ALGORITHMS)
        supported[f"{kind}_encryption_enc_values_supported"] = list(jwe.ENCODINGS)
    return supported


def _scopes(settings: Settings) -> list[str]:
    described = [scope for scope in settings.scopes if not is_reserved(scope)]
    return list(dict.fromkeys([*SIGN_IN_SCOPES, *described]))


def _claims(settings: Settings) -> list[str]:
    told = [name for names in profiles.scope_claims(settings).values() for name in names]
    return list(dict.fromkeys([*PROTOCOL_CLAIMS, *filter(profiles.can_be_told, told)]))


async def discover(request: Request) -> Response:
    """Answer with the metadata: the same document at every well-known address."""
    registers = sign_up.is_open(request.runtime)
    return _cached(request, metadata(request.runtime.settings, registers=registers))


async def jwks(request: Request) -> Response:
    """Answer with the public keys: current, next and retiring."""
    return _cached(request, await request.runtime.keyring.jwks())


def _cached(request: Request, document: object) -> Response:
    """Answer with a cacheable document, or 304 when the caller's copy is current (KR-05)."""
    answer = json_response(200, document, CACHED)
    etag = b'"%b"' % hashlib.sha256(answer.body).hexdigest()[:32].encode()
    if request.has_copy(etag):
        return Response(304, b"", (*CACHED, (b"etag", etag)))
    answer.headers = (*answer.headers, (b"etag", etag))
    return answer
