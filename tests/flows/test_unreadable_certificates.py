"""RFC 8705 §2.2: a registered certificate that cannot be trusted in handshakes keeps no other from being trusted."""

import base64
import ssl
from pathlib import Path

import pytest
from tests.fixtures.certificates import make
from tests.fixtures.servers import open_server
from tests.store.made import execute

from watchword.flows.clients import client_certificates
from watchword.jose import jwk

VERSION = b"\xa0\x03\x02\x01"  # RFC 5280 §4.1.2.1
COMMON_NAME = b"\x06\x03\x55\x04\x03"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(VERSION + b"\x02", VERSION + b"\x04", id="of an unknown version"),
        pytest.param(
            COMMON_NAME + b"\x0c", COMMON_NAME + b"\x01", id="with a name that OpenSSL does not take"
        ),
    ],
)
async def test_a_certificate_that_cannot_be_trusted_keeps_no_other_from_it(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    async with open_server(tmp_path, tls_client_self_signed=True) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.runtime.trust_certificate = lambda der: context.load_verify_locations(cadata=der)
        made = [make(tmp_path, name, is_authority=True).der for name in ("one", "another")]
        assert before in made[0]
        for certificate in (made[0].replace(before, after), made[1]):
            chain = {"x5c": [base64.b64encode(certificate).decode()]}
            await server.client(
                token_endpoint_auth_method="self_signed_tls_client_auth",
                jwks={"keys": [jwk.public_document(jwk.generate("ES256")) | chain]},
            )
        await client_certificates.trust_registered(server.runtime)
        assert context.get_ca_certs(binary_form=True) == [made[1]]


@pytest.mark.parametrize("kept", ["document || '{'", "CAST(CAST(document AS BLOB) || x'ff' AS TEXT)"])
async def test_a_client_whose_row_is_damaged_keeps_no_other_certificate_from_it(
    tmp_path: Path, kept: str
) -> None:
    async with open_server(tmp_path, tls_client_self_signed=True) as server:
        trusted: list[bytes] = []
        server.runtime.trust_certificate = trusted.append
        made = [make(tmp_path, name, is_authority=True).der for name in ("one", "another")]
        for name, certificate in zip(("damaged", "sound"), made, strict=True):
            chain = {"x5c": [base64.b64encode(certificate).decode()]}
            await server.client(
                name=name,
                token_endpoint_auth_method="self_signed_tls_client_auth",
                jwks={"keys": [jwk.public_document(jwk.generate("ES256")) | chain]},
            )
        await server.runtime.database.write(
            execute, f"UPDATE clients SET document = {kept} WHERE document LIKE '%damaged%'"
        )
        await client_certificates.trust_registered(server.runtime)
        assert trusted == [made[1]]
