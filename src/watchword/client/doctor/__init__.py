"""What OpenID and MCP clients stumble over, found by sending the requests that they send: `examine(url)`.

Owns the choice of the walk; `issuer` walks an authorization server, `resource` an MCP server and then the servers that it names.
"""

from urllib.parse import urlsplit

from watchword.client.doctor.findings import Finding, Report
from watchword.client.doctor.issuer import walk_issuer
from watchword.client.doctor.resource import inserted, walk_resource
from watchword.client.doctor.web import Seen, Web, described, is_address, well_known

__all__ = ["Finding", "Report", "examine"]


def examine(url: str, web: Web | None = None) -> Report:
    """Walk discovery from the URL of an issuer or an MCP server; raise ValueError when it is no web address."""
    if not is_address(url):
        raise ValueError(f"give an address such as https://auth.example.com, not {url!r}")
    if "@" in urlsplit(url).netloc or "#" in url:
        raise ValueError("give the address without user information and without a fragment")
    if "/.well-known/" in urlsplit(url).path:
        raise ValueError(
            f"that is the address of metadata: give the address that they describe, {described(url)}"
        )
    web = web or Web()
    report = Report(url)
    seen = [web.get(address) for address in well_known(url).values()]
    if any(map(_is_metadata, seen)) and not _is_resource(url, seen, web):
        report.kind = "authorization server"
        walk_issuer(url, web, report)
    else:
        report.kind = "MCP server"
        walk_resource(url, web, report)
    return report


def _is_resource(url: str, seen: list[Seen], web: Web) -> bool:
    """Whether an address is a resource, although some server on its host answers every well-known address with its own metadata."""
    issuers = {str((one.document or {}).get("issuer", "")).rstrip("/") for one in seen}
    return url.rstrip("/") not in issuers and "resource" in (web.get(inserted(url)).document or {})


def _is_metadata(seen: Seen) -> bool:
    # A redirect of the metadata itself tells an issuer too; one to somewhere else is what any site may answer.
    redirected = seen.is_redirect and "/.well-known/" in seen.location
    return redirected or (seen.status == 200 and "issuer" in (seen.document or {}))
