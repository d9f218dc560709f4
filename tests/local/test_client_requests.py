"""The requests of clients that do not run here, byte for byte as they send them."""

import json
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from functions.shared.clients.client import TokenFormat
from functions.shared.clients.client_secrets import StoredSecret, digest_imported
from tests.support.laptop import Laptop
from tests.support.server import client

ID = f"svc@{uuid4()}"
SECRET = "q/8w:=="
ENCODED_ID = ID.replace("@", "%40")
ENCODED_SECRET = "q%2F8w%3A%3D%3D"
SCOPES = ["country.read", "customer.read"]

FORM = "application/x-www-form-urlencoded"
FORM_UTF8 = f"{FORM};charset=UTF-8"
GRANT = "grant_type=client_credentials"
SCOPE = "scope=country.read+customer.read"
IN_FORM = f"client_id={ENCODED_ID}&client_secret={ENCODED_SECRET}"


def basic(client_id: str, secret: str) -> str:
    return f"Basic {b64encode(f'{client_id}:{secret}'.encode()).decode()}"


ENCODED = basic(ENCODED_ID, ENCODED_SECRET)
AS_IT_STANDS = basic(ID, SECRET)


@dataclass(frozen=True)
class Sent:
    """The request of a client, without Host and Content-Length."""

    body: str
    headers: dict[str, str]


def form(body: str, **headers: str) -> Sent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(body, {"Content-Type": FORM, **named})


TOKEN_REQUESTS = {
    "Spring Security 5, Basic": form(
        f"{GRANT}&{SCOPE}", Authorization=ENCODED, Accept="application/json;charset=UTF-8", Content_Type=FORM_UTF8
    ),
    "Spring Security 6, Basic": form(
        f"{GRANT}&{SCOPE}", Authorization=ENCODED, Accept="application/json", Content_Type=FORM_UTF8
    ),
    "Spring Security 6, form": form(f"{GRANT}&{IN_FORM}&{SCOPE}", Accept="application/json", Content_Type=FORM_UTF8),
    "Java's HttpClient, which would rather speak HTTP/2": form(
        f"{GRANT}&{SCOPE}",
        Connection="Upgrade, HTTP2-Settings",
        HTTP2_Settings="AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        Upgrade="h2c",
        User_Agent="Java-http-client/17.0.15",
        Authorization=ENCODED,
    ),
    "Nimbus OAuth 2.0 SDK on HttpURLConnection": form(
        f"{GRANT}&{SCOPE}",
        Authorization=ENCODED,
        Accept="text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        Content_Type=f"{FORM}; charset=UTF-8",
    ),
    "Apache Camel, Basic: no encoding anywhere": form(
        f"{GRANT}&scope=country.read customer.read",
        Authorization=AS_IT_STANDS,
        Content_Type=f"{FORM}; charset=ISO-8859-1",
    ),
    "Apache Camel, form": form(
        f"{GRANT}&scope=country.read customer.read&client_id={ID}&client_secret={SECRET}",
        Content_Type=f"{FORM}; charset=ISO-8859-1",
    ),
    "golang.org/x/oauth2, header": form(
        f"{GRANT}&{SCOPE}", Authorization=ENCODED, User_Agent="Go-http-client/1.1", Accept_Encoding="gzip"
    ),
    "golang.org/x/oauth2, params: names in alphabetical order": form(
        f"{IN_FORM}&{GRANT}&{SCOPE}", User_Agent="Go-http-client/1.1", Accept_Encoding="gzip"
    ),
    "oauth2 for Rust": form(f"{GRANT}&{SCOPE}", Authorization=ENCODED, Accept="application/json"),
    "Duende IdentityModel, form": form(
        f"{GRANT}&{SCOPE}&{IN_FORM}", Accept="application/json", traceparent="00-0af7-b7ad-01"
    ),
    "Duende IdentityModel, Basic": form(f"{GRANT}&{SCOPE}", Authorization=ENCODED, Accept="application/json"),
    "league/oauth2-client: redirect_uri is sent for any grant": form(
        f"{IN_FORM}&redirect_uri=https%3A%2F%2Fservice.example%2F&{GRANT}&scope=country.read%20customer.read",
        User_Agent="GuzzleHttp/7",
    ),
    "Postman, Basic": form(
        f"{GRANT}&scope=country.read%20customer.read",
        Authorization=AS_IT_STANDS,
        Accept="*/*",
        Cache_Control="no-cache",
        Accept_Encoding="gzip, deflate, br",
    ),
    "curl --user": form(f"{GRANT}&{SCOPE}", Authorization=AS_IT_STANDS, Accept="*/*"),
    "curl --user and the client_id in the form": form(
        f"{GRANT}&{SCOPE}&client_id={ENCODED_ID}", Authorization=AS_IT_STANDS
    ),
}

UNSCOPED_REQUESTS = {
    "Envoy's credential injector": form(f"{GRANT}&client_id={ID}&client_secret=q%2F8w%3A%3D%3D"),
    "Postman with the scope left empty": form(f"{GRANT}&scope=", Authorization=AS_IT_STANDS),
    "any client with a parameter of its own": form(
        f"{GRANT}&audience=https%3A%2F%2Fapi.example&client_info=1&{IN_FORM}"
    ),
}

INTROSPECTION_REQUESTS = {
    "Spring's opaque token introspector": form(
        "token={token}", Authorization=AS_IT_STANDS, Accept="application/json", Content_Type=FORM_UTF8
    ),
    "lua-resty-openidc, as Kong and APISIX use it": form(f"token={{token}}&{IN_FORM}"),
    "liboauth2, as Apache and nginx use it": form("token={token}&token_type_hint=access_token", Authorization=ENCODED),
}

REVOCATION_REQUESTS = {
    "Duende IdentityModel": form(f"token={{token}}&token_type_hint=access_token&{IN_FORM}", Accept="application/json"),
    "Nimbus OAuth 2.0 SDK": form("token={token}", Authorization=ENCODED, Content_Type=f"{FORM}; charset=UTF-8"),
}


@pytest.fixture(scope="module", autouse=True)
def _registered(laptop: Laptop) -> None:
    """A client whose id and secret, from another server, have to be encoded."""
    laptop.clients.put(
        client(
            ID,
            secrets=(StoredSecret(digest_imported(SECRET)),),
            scopes=frozenset(SCOPES),
            token_format=TokenFormat.OPAQUE,
        )
    )


def send(laptop: Laptop, endpoint: str, sent: Sent) -> tuple[int, Any]:
    """Send a request unchanged; return the status and the JSON body."""
    address = urlsplit(f"{laptop.addresses.issuer}/oauth2/{endpoint}")
    connection = HTTPConnection(address.netloc, timeout=30)
    connection.putrequest("POST", address.path, skip_accept_encoding=True)
    for name, value in sent.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(sent.body)))
    connection.endheaders(sent.body.encode("ascii"))
    with connection.getresponse() as answer:
        status, text = answer.status, answer.read()
    connection.close()
    return status, json.loads(text)


def about(sent: Sent, token: str) -> Sent:
    return Sent(sent.body.format(token=token), sent.headers)


@pytest.fixture(scope="module")
def token(laptop: Laptop) -> str:
    body = form(f"{GRANT}&{IN_FORM}&scope=country.read")
    return str(send(laptop, "token", body)[1]["access_token"])


@pytest.mark.parametrize("sent", TOKEN_REQUESTS.values(), ids=TOKEN_REQUESTS)
def test_token_request_of_the_client(laptop: Laptop, sent: Sent) -> None:
    status, answer = send(laptop, "token", sent)
    assert (status, answer["scope"]) == (200, " ".join(SCOPES))


@pytest.mark.parametrize("sent", UNSCOPED_REQUESTS.values(), ids=UNSCOPED_REQUESTS)
def test_token_request_without_scopes(laptop: Laptop, sent: Sent) -> None:
    status, answer = send(laptop, "token", sent)
    assert (status, answer["token_type"]) == (200, "Bearer")


@pytest.mark.parametrize("sent", INTROSPECTION_REQUESTS.values(), ids=INTROSPECTION_REQUESTS)
def test_introspection_request_of_the_client(laptop: Laptop, token: str, sent: Sent) -> None:
    status, answer = send(laptop, "introspect", about(sent, token))
    assert (status, answer["active"], answer["scope"]) == (200, True, "country.read")


@pytest.mark.parametrize("sent", REVOCATION_REQUESTS.values(), ids=REVOCATION_REQUESTS)
def test_revocation_request_of_the_client(laptop: Laptop, sent: Sent) -> None:
    issued = send(laptop, "token", form(f"{GRANT}&{IN_FORM}"))[1]["access_token"]
    assert send(laptop, "revoke", about(sent, issued)) == (200, {})
    shown = send(laptop, "introspect", form(f"token={issued}&{IN_FORM}"))
    assert shown == (200, {"active": False})


def test_go_oauth2_falls_back_to_parameters(laptop: Laptop) -> None:
    """It does so for any refusal, and learns from the second answer what is wrong."""
    wrong = form(f"{GRANT}&{SCOPE}", Authorization=basic(ENCODED_ID, "wrong"))
    again = form(f"client_id={ENCODED_ID}&client_secret=wrong&{GRANT}&{SCOPE}")
    for sent in (wrong, again):
        status, answer = send(laptop, "token", sent)
        assert (status, answer["error"]) == (401, "invalid_client")


REFUSED = {
    "a form in JSON": Sent(json.dumps({"grant_type": "x"}), {"Content-Type": "application/json"}),
    "two methods at once": form(f"{GRANT}&{IN_FORM}", Authorization=ENCODED),
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_rfc6749_malformed_request_is_invalid(laptop: Laptop, sent: Sent) -> None:
    status, answer = send(laptop, "token", sent)
    assert (status, answer["error"]) == (400, "invalid_request")
