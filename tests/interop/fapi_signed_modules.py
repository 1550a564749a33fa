"""The modules of the suite's plan for FAPI 2.0 Message Signing that concern signed authorization requests, by the suite's own names."""

from collections.abc import Callable

from tests.interop.fapi_modules import refused
from tests.interop.fapi_party import FapiParty, new_key
from tests.interop.logout_modules import read

Module = Callable[[FapiParty], None]
INVALID = ("invalid_request_object",)
EITHER = ("invalid_request_object", "invalid_request")


def succeeds(party: FapiParty, parameters: dict[str, str]) -> dict[str, str]:
    """Walk a signed request to its code; return the parameters of the answer."""
    answer = party.authorize(party.pushed(parameters))
    assert answer.page is None, answer.page.text
    assert party.redeem(answer.parameters["code"]).status_code == 200
    return answer.parameters


def happy_flow(party: FapiParty) -> None:
    request = party.request()
    assert succeeds(party, party.signed(request))["state"] == request["state"]


def moved(party: FapiParty, claims: dict[str, object]) -> dict[str, object]:
    """Return claims with numbers counted from now."""
    return {name: party.now() + value if isinstance(value, int) else value for name, value in claims.items()}


def accepts(**claims: int) -> Module:
    def module(party: FapiParty) -> None:
        succeeds(party, party.signed(party.request(), **moved(party, dict(claims))))

    return module


def refuses(alg: str = "ES256", *, codes: tuple[str, ...] = INVALID, **claims: object) -> Module:
    def module(party: FapiParty) -> None:
        happy_flow(party)
        refused(party.push(party.signed(party.request(), alg=alg, **moved(party, claims))), *codes)

    return module


def several_audiences(party: FapiParty) -> None:
    audiences = [party.issuer, "https://other.example.com"]
    succeeds(party, party.signed(party.request(), aud=audiences))


def only_what_is_inside_counts(name: str) -> Module:
    def module(party: FapiParty) -> None:
        request = party.request()
        # The suite repeats these beside a `request_uri`, in all modules but `par-without-duplicate-parameters`
        beside = {each: request[each] for each in ("response_type", "scope", "redirect_uri")}
        answer = party.authorize(party.pushed(party.signed(request)), **beside, **{name: "outside"})
        assert answer.parameters["state"] == request["state"]
        tokens = party.redeem(answer.parameters["code"]).json()
        assert read(tokens["id_token"])["nonce"] == request["nonce"]

    return module


def state_outside(party: FapiParty) -> None:
    request_uri = party.pushed(party.signed(party.request(state=None)))
    answer = party.authorize(request_uri, state="outside")
    assert party.redeem(answer.parameters["code"]).status_code == 200
    assert "state" not in answer.parameters


def invalid_signature(party: FapiParty) -> None:
    signed = party.signed(party.request())
    refused(party.push(signed | {"request": signed["request"][:-8] + "AAAAAAAA"}), *INVALID)


def key_of_another(party: FapiParty) -> None:
    refused(party.push(party.signed(party.request(), key=new_key("k"))), *EITHER)


def unsigned(party: FapiParty) -> None:
    refused(party.push(party.request()), "invalid_request")


# Each name goes on from `fapi2-security-profile-final-`.
SIGNED_REQUESTS: dict[str, Module] = {
    "happy-flow": happy_flow,
    "ensure-request-object-with-multiple-aud-succeeds": several_audiences,
    "ensure-request-object-with-nbf-8-seconds-in-the-future-is-accepted": accepts(nbf=8),
    "ensure-different-nonce-inside-and-outside-request-object": only_what_is_inside_counts("nonce"),
    "ensure-different-state-inside-and-outside-request-object": only_what_is_inside_counts("state"),
    "state-only-outside-request-object-not-used": state_outside,
    "ensure-request-object-without-exp-fails": refuses(exp=None),
    "ensure-request-object-without-nbf-fails": refuses(nbf=None),
    "ensure-request-object-without-redirect-uri-fails": refuses(codes=EITHER, redirect_uri=None),
    "ensure-expired-request-object-fails": refuses(exp=-300),
    "ensure-request-object-with-bad-aud-fails": refuses(aud="https://other.example.com"),
    "ensure-request-object-with-exp-over-60-fails": refuses(exp=70 * 60),
    "ensure-request-object-with-nbf-over-60-fails": refuses(nbf=-70 * 60),
    "ensure-signed-request-object-with-RS256-fails": refuses("RS256"),
    "ensure-request-object-signature-algorithm-is-not-none": refuses("none"),
    "ensure-request-object-with-invalid-signature-fails": invalid_signature,
    "ensure-matching-key-in-authorization-request": key_of_another,
    "ensure-unsigned-request-at-par-endpoint-fails": unsigned,
    "par-authorization-request-containing-request_uri": refuses(
        request_uri="urn:ietf:params:oauth:request_uri:inside"
    ),
}
