"""What a client that registers itself can do to others by the certificate that the handshake trusts for it (RFC 8705 §2.2)."""

from pathlib import Path

import httpx
from tests.fixtures.certificates import LOCALHOST, Pair, make, trusting
from tests.fixtures.servers import serve
from tests.flows.test_mtls import NAMES, SUBJECTS, Secured, grant, until_accepted, with_certificate


def register_itself(secured: Secured, pair: Pair) -> httpx.Response:
    """Register as anybody may who wants to authenticate by a certificate of its own."""
    document = {
        "redirect_uris": ["https://app.example/cb"],
        "token_endpoint_auth_method": "self_signed_tls_client_auth",
        "jwks": with_certificate(pair),
    }
    return httpx.post(secured.process.issuer + "/register", json=document, verify=trusting(secured.authority))


def test_mt_02_a_certificate_that_is_called_like_an_authority_keeps_nobody_out(tmp_path: Path) -> None:
    authority = make(tmp_path, "authority", is_authority=True)
    issuing = make(tmp_path, "issuing", issuer=authority, is_authority=True)
    own = make(tmp_path, "localhost", issuer=authority, names=LOCALHOST)
    client = make(tmp_path, "client", issuer=issuing, names=NAMES)
    client.path.write_text(client.path.read_text() + issuing.pem)  # as clients send what theirs hangs on
    anchors, config = tmp_path / "anchors.pem", tmp_path / "ww.toml"
    anchors.write_text(authority.pem)
    config.write_text('registration = "open"\ntls_client_self_signed = true\n')
    options = ["--tls-cert", str(own.path), "--tls-key", str(own.path), "--tls-client-ca", str(anchors)]
    with serve(tmp_path, *options, "--config", str(config), tls=trusting(authority)) as process:
        secured = Secured(process, authority, client, tmp_path)
        honest = secured.register(
            token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject=SUBJECTS[0]
        )
        assert grant(secured, honest, client).status_code == 200
        look_alike, own_key = make(tmp_path, "issuing", key_of=issuing), make(tmp_path, "issuing")
        assert register_itself(secured, own_key).status_code == 201
        until_accepted(lambda: secured.get("/healthz", own_key))
        of_itself = {"token_endpoint_auth_method": "self_signed_tls_client_auth"}
        for wrong in (look_alike, make(tmp_path, "issuing", key_of=issuing, has_it=True)):
            refused = register_itself(secured, wrong)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
            secured.register("dynamic", **of_itself, jwks=with_certificate(wrong))  # before that was refused
        odd = make(tmp_path, "odd", key_of=issuing)
        by_hand = secured.register(**of_itself, jwks=with_certificate(odd))
        assert until_accepted(lambda: grant(secured, by_hand, odd)).status_code == 200
        assert grant(secured, honest, client).status_code == 200
