"""RFC 6749 §5.2 and its successors: the one table of protocol errors.

Owns every error code that leaves the server, its HTTP status, and whether an authorization response may carry it to the client's
redirect URI. Rendering is the business of `http`.
"""

import msgspec


class ErrorRule(msgspec.Struct, frozen=True):
    """How one error code is answered: its HTTP status and whether it may travel by redirect."""

    status: int
    redirectable: bool = False


ERRORS: dict[str, ErrorRule] = {
    # RFC 6749 §4.1.2.1 and §5.2
    "invalid_request": ErrorRule(400, redirectable=True),
    "invalid_client": ErrorRule(401),
    "invalid_grant": ErrorRule(400),
    "unauthorized_client": ErrorRule(400, redirectable=True),
    "unsupported_grant_type": ErrorRule(400),
    "unsupported_response_type": ErrorRule(400, redirectable=True),
    "invalid_scope": ErrorRule(400, redirectable=True),
    "access_denied": ErrorRule(400, redirectable=True),
    "server_error": ErrorRule(500, redirectable=True),
    "temporarily_unavailable": ErrorRule(503, redirectable=True),
    # RFC 6750 §3.1, RFC 9470 §3
    "invalid_token": ErrorRule(401),
    "insufficient_scope": ErrorRule(403),
    "insufficient_user_authentication": ErrorRule(401),
    # OpenID Connect Core §3.1.2.6
    "login_required": ErrorRule(400, redirectable=True),
    "interaction_required": ErrorRule(400, redirectable=True),
    "account_selection_required": ErrorRule(400, redirectable=True),
    "consent_required": ErrorRule(400, redirectable=True),
    "unmet_authentication_requirements": ErrorRule(400, redirectable=True),
    "request_not_supported": ErrorRule(400, redirectable=True),
    "registration_not_supported": ErrorRule(400, redirectable=True),
    # RFC 9101 §7
    "invalid_request_object": ErrorRule(400, redirectable=True),
    "invalid_request_uri": ErrorRule(400),
    # RFC 8707 §2, RFC 9396 §5
    "invalid_target": ErrorRule(400, redirectable=True),
    "invalid_authorization_details": ErrorRule(400, redirectable=True),
    # RFC 8628 §3.5
    "authorization_pending": ErrorRule(400),
    "slow_down": ErrorRule(400),
    "expired_token": ErrorRule(400),
    # RFC 9449 §5 and §8
    "invalid_dpop_proof": ErrorRule(400),
    "use_dpop_nonce": ErrorRule(400),
    # RFC 7591 §3.2.2
    "invalid_redirect_uri": ErrorRule(400),
    "invalid_client_metadata": ErrorRule(400),
    "invalid_software_statement": ErrorRule(400),
    # The admin API's own
    "not_found": ErrorRule(404),
    "method_not_allowed": ErrorRule(405),
    "not_acceptable": ErrorRule(406),
    "conflict": ErrorRule(409),
    "precondition_failed": ErrorRule(412),
    "unsupported_media_type": ErrorRule(415),
    "too_many_requests": ErrorRule(429),
    # Token Status List §8.4
    "not_implemented": ErrorRule(501),
}


class OAuthError(Exception):
    """A protocol error.

    `code` is a key of `ERRORS`; `description` is for the developer of the client and never repeats what was sent
    (RFC 6749 §5.2 restricts its characters); `detail` reaches only the log; `field` names the input at fault; `retry_after` is in
    seconds; `challenge` is the value of `WWW-Authenticate` where the protocol requires one; `status` overrides the one in the table,
    where a resource answers differently from the token endpoint.
    """

    def __init__(
        self,
        code: str,
        description: str,
        *,
        detail: str | None = None,
        field: str | None = None,
        retry_after: int | None = None,
        challenge: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code, description)
        self.rule = ERRORS[code] if status is None else ErrorRule(status)
        self.code = code
        self.description = description
        self.detail = detail
        self.field = field
        self.retry_after = retry_after
        self.challenge = challenge
