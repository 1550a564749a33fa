"""Signing in with GitHub's OAuth: there is no ID token, so the identity is what its API returns for the access token.

Owns GitHub's URLs and the parsing of its answers. An account there is identified by its number: a login name can be given up and taken
by somebody else (FD-01). State, PKCE and mix-up are as for every provider, in `upstream`.
"""

from watchword.credentials.upstream import Identity, Provider, UpstreamRefused, identity, read_json

ISSUER = "https://github.com/login/oauth"
AUTHORIZE_URL = "https://github.com/login/oauth/authorize"
TOKEN_URL = "https://github.com/login/oauth/access_token"
USER_URL = "https://api.github.com/user"
EMAILS_URL = "https://api.github.com/user/emails"
MAX_EMAILS = 100


def provider(client_id: str) -> Provider:
    """Return GitHub as a provider."""
    return Provider(
        issuer=ISSUER,
        client_id=client_id,
        authorization_endpoint=AUTHORIZE_URL,
        token_endpoint=TOKEN_URL,
        userinfo_endpoint=USER_URL,
        algorithms=(),
        scopes=("read:user", "user:email"),
        tells_time=False,
        prompts=("select_account",),  # it cannot be asked for a fresh sign-in
    )


def read_identity(user: bytes, emails: bytes | None = None) -> Identity:
    """Return who signed in, from the answers of `/user` and `/user/emails`; raise UpstreamRefused."""
    account = read_json(user)
    number = account.get("id") if isinstance(account, dict) else None
    if (
        not isinstance(account, dict)
        or isinstance(number, bool)
        or not isinstance(number, int)
        or number <= 0
    ):
        raise UpstreamRefused("subject")
    address = None if emails is None else _primary(read_json(emails))
    claims = {
        "sub": str(number),
        "name": account.get("name"),
        "preferred_username": account.get("login"),
        "email": address,
        "email_verified": address is not None,
    }
    return identity(ISSUER, claims)


def _primary(listed: object) -> str | None:
    """Return the primary address when GitHub has verified it; the address of `/user` says nothing about that."""
    if not isinstance(listed, list) or len(listed) > MAX_EMAILS:
        raise UpstreamRefused("answer", "emails")
    for entry in listed:
        if isinstance(entry, dict) and entry.get("primary") is True and entry.get("verified") is True:
            address = entry.get("email")
            return address if isinstance(address, str) else None
    return None
