"""RFC 7517: the published keys as a relying party reads them."""

from collections.abc import Mapping, Sequence

from watchword.client.doctor.findings import Report, check_type
from watchword.client.doctor.web import Document, Web, is_address, line_for
from watchword.jose import JoseError, jwk

PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
CHANGE_PRIVATE = "publish public members only, and replace this key at once: watchword key rotate"


def check_keys(document: Document, web: Web, report: Report) -> None:
    """Check the key set that the metadata names."""
    address = document.get("jwks_uri")
    if not is_address(address):
        report.warn(
            "jwks",
            str(document.get("issuer")),
            "there is no jwks_uri: nobody can verify tokens",
            '"jwks_uri": "…"',
        )
        return
    seen = web.get(address)
    keys = seen.document.get("keys") if seen.document else None
    if seen.status != 200 or not isinstance(keys, list) or not keys:
        report.fail(
            "jwks",
            address,
            f"the keys cannot be read: {'200 without any key' if seen.status == 200 else seen.said()}",
            line_for(seen, address, "answer 200 with a JWK set of at least one key"),
        )
        return
    check_type(seen.media_type, address, report, "application/jwk-set+json")
    usable = [key for key in keys if isinstance(key, dict) and _is_usable(key, address, report)]
    names = [key.get("kid") for key in usable]
    if len(set(map(str, names))) != len(names):
        report.fail(
            "jwks-kid", address, "two keys have the same kid, or none", "give every key a different kid"
        )
    _check_announced(document, usable, address, report)


def _is_usable(key: Mapping[str, object], address: str, report: Report) -> bool:
    if PRIVATE & key.keys():
        report.fail("jwks-private", address, "a PRIVATE key is published", CHANGE_PRIVATE)
        return False
    try:
        found = jwk.parse(key)
    except JoseError as error:
        if key.get("use") != "enc":
            report.warn(
                "jwks-key", address, f"a key of type {key.get('kty')!r} cannot be used ({error})", "remove it"
            )
        return False
    report.ok("jwks-key", address, f"{found.alg} key {found.kid}")
    return True


def _check_announced(
    document: Document, keys: Sequence[Mapping[str, object]], address: str, report: Report
) -> None:
    announced = document.get("id_token_signing_alg_values_supported")
    kinds = {found.alg for key in keys for found in jwk.parse_published({"keys": [key]})}
    families = kinds | ({"RS256", "PS256"} if kinds & {"RS256", "PS256"} else set())
    named = map(str, announced) if isinstance(announced, list) else ()
    # Clients verify HMACs with their own secrets (OpenID Connect Core §10.1)
    missing = [alg for alg in named if jwk.own_name(alg) not in families and not alg.startswith("HS")]
    if missing:
        report.warn(
            "jwks-alg",
            address,
            f"announced for ID tokens, but without a key: {' '.join(missing)[:100]}",
            f"id_token_signing_alg_values_supported: {sorted(kinds)}" if kinds else "publish keys for these",
        )
