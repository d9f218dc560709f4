from base64 import urlsafe_b64encode
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert
from typing import Any

import pytest

from functions.shared.web.oauth_errors import InvalidRequestError, ServerError
from functions.shared.web.proxy_request import ClientCertificate, certificate_from_pem, read_event
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.proxy_events import proxy_event, token_event


def test_header_names_are_found_in_any_case() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-ThInG": "a"}))
    assert request.header("x-thing") == "a"


def test_absent_header_is_none() -> None:
    assert read_event(proxy_event("GET", "/")).header("x-thing") is None


def test_duplicate_header_is_rejected() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-Thing": ["a", "b"]}))
    with pytest.raises(InvalidRequestError, match="x-thing header was sent more than once"):
        request.header("x-thing")


def test_two_spellings_of_a_header_are_duplicates() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-Thing": "a", "x-thing": "b"}))
    assert request.headers["x-thing"] == ("a", "b")


def test_single_values_are_a_fallback() -> None:
    event = proxy_event("GET", "/", multiValueHeaders=None, multiValueQueryStringParameters=None)
    event |= {"headers": {"X-Thing": "a"}, "queryStringParameters": {"limit": "3"}}
    request = read_event(event)
    assert (request.header("x-thing"), request.query_parameter("limit")) == ("a", "3")


def test_duplicate_query_parameter_is_rejected() -> None:
    request = read_event(proxy_event("GET", "/", query={"limit": ["1", "2"]}))
    with pytest.raises(InvalidRequestError, match="limit was sent more than once"):
        request.query_parameter("limit")


def test_text_body_becomes_its_utf_8_bytes() -> None:
    assert read_event(proxy_event("POST", "/", body="ä")).body == b"\xc3\xa4"


def test_base64_body_is_decoded() -> None:
    event = proxy_event("POST", "/", body="AP8=", isBase64Encoded=True)
    assert read_event(event).body == b"\x00\xff"


@pytest.mark.parametrize("body", ["AP8", "A P8=", "ä"])
def test_malformed_base64_body_is_rejected(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="base64"):
        read_event(proxy_event("POST", "/", body=body, isBase64Encoded=True))


def test_lone_surrogate_in_a_body_is_rejected() -> None:
    assert read_event(proxy_event("POST", "/", body="\ud800")).body == b"\xed\xa0\x80"


def test_context_has_source_request_id_and_authorizer() -> None:
    event = proxy_event("GET", "/country/code/AUS", pathParameters={"code": "AUS"})
    event["requestContext"]["authorizer"] = {"principalId": "someone"}
    request = read_event(event)
    assert request.source_ip == "192.0.2.7"
    assert request.request_id == "JKJaXmPLvHcESHA="
    assert request.authorizer == {"principalId": "someone"}
    assert request.path_parameters == {"code": "AUS"}


def test_minimal_event_is_enough() -> None:
    request = read_event({"httpMethod": "GET", "path": "/"})
    assert (request.method, request.path, request.body) == ("GET", "/", b"")
    for nothing in (request.headers, request.query, request.path_parameters, request.authorizer):
        assert nothing == {}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"source": "aws.events", "detail": {}},
        {"version": "2.0", "rawPath": "/oauth2/token", "requestContext": {"http": {"method": "POST"}}},
    ],
    ids=["nothing", "a schedule's", "payload format 2.0"],
)
def test_other_event_type_is_an_internal_error(event: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match=r"payload format 1\.0"):
        read_event(event)


PEM = certificate_pem()


def test_rfc8705_3_1_thumbprint_is_the_digest_of_the_der() -> None:
    digest = sha256(PEM_cert_to_DER_cert(PEM)).digest()
    expected = urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert certificate_from_pem(PEM).thumbprint == expected
    assert len(expected) == 43


def test_event_with_a_certificate_is_a_request_with_one() -> None:
    request = read_event(with_certificate(token_event({}), PEM))
    assert request.client_certificate == certificate_from_pem(PEM)


def test_event_without_a_certificate_is_a_request_without_one() -> None:
    assert read_event(token_event({})).client_certificate is None


@pytest.mark.parametrize("pem", [f"\n{PEM}\n", PEM.replace("\n", "\r\n"), PEM.strip()])
def test_whitespace_around_a_certificate_is_ignored(pem: str) -> None:
    assert certificate_from_pem(pem) == certificate_from_pem(PEM)


@pytest.mark.parametrize(
    "pem",
    [
        "",
        PEM + PEM,
        PEM + certificate_pem("CN=another"),
        "text before\n" + PEM,
        PEM.replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE"),
        PEM.replace("CERTIFICATE", "PUBLIC KEY"),
        "-----BEGIN CERTIFICATE-----\nA===A\n-----END CERTIFICATE-----",
    ],
)
def test_rfc7468_5_exactly_one_certificate_is_accepted(pem: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        certificate_from_pem(pem)
    if pem:
        with pytest.raises(InvalidRequestError, match="certificate"):
            read_event(with_certificate(token_event({}), pem))


def test_fake_certificate_is_rejected_when_parsed() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    with pytest.raises(ValueError, match=r"."):
        _ = certificate_from_pem(pem).x509


def test_repr_hides_the_certificate() -> None:
    assert "0" not in repr(ClientCertificate(b"0"))
