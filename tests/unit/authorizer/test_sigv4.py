"""Signature Version 4: AWS's published vectors, and random requests compared with botocore."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from authorizer.aws_client import authorization
from authorizer.aws_environment import Credentials

FORM = b"Param1=value1"
FORM_HEADERS = {"content-length": "13", "x-amz-content-sha256": hashlib.sha256(FORM).hexdigest()}

# Vectors of AWS's suite with what the comparison below does not draw: method and path, headers, body, signature.
VECTORS: dict[str, tuple[str, Mapping[str, str], bytes, str]] = {
    "get-unreserved": (
        *("GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", {}, b""),
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-header-value-trim": (
        *("GET", {"my-header1": " value1", "my-header2": ' "a   b   c"'}, b""),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-x-www-form-urlencoded": (
        *("POST", {"content-type": "application/x-www-form-urlencoded", **FORM_HEADERS}, FORM),
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
}
EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
HOST_AND_DATE = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}


@pytest.mark.parametrize(("method", "headers", "body", "signature"), VECTORS.values(), ids=VECTORS)
def test_signature_equals_the_published_one(
    method: str, headers: Mapping[str, str], body: bytes, signature: str
) -> None:
    method, _, path = method.partition(" ")
    path = path or "/"
    signed = {**HOST_AND_DATE, **headers}
    assert authorization(method, path, signed, body, EXAMPLE, region="us-east-1", service="service") == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
    )


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(
    st.builds(Credentials, WORDS, WORDS, st.just("") | WORDS),
    st.dictionaries(st.sampled_from(["content-type", "x-amz-target", "x-one", "x-two"]), WORDS),
    st.binary(),
    st.from_regex("[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
    st.sampled_from(["dynamodb", "kms", "secretsmanager", "ssm"]),
    st.datetimes(),
)
def test_signature_equals_that_of_botocore(
    credentials: Credentials, headers: dict[str, str], body: bytes, region: str, service: str, now: object
) -> None:
    url = f"https://{service}.{region}.amazonaws.com/"
    timestamp = f"{now:%Y%m%dT%H%M%SZ}".zfill(16)
    request = AWSRequest("POST", url, headers={**headers, "X-Amz-Date": timestamp}, data=body)
    if credentials.token:
        headers |= {"x-amz-security-token": credentials.token}
        request.headers["X-Amz-Security-Token"] = credentials.token
    request.context["timestamp"] = timestamp
    auth: Any = SigV4Auth(BotocoreCredentials(*credentials[:3]), service, region)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    auth._inject_signature_to_request(request, signature)
    signed = {**headers, "host": url[8:-1], "x-amz-date": timestamp}
    assert (
        authorization("POST", "/", signed, body, credentials, region=region, service=service)
        == request.headers["Authorization"]
    )


def test_representation_contains_no_secret() -> None:
    assert repr(Credentials("key-id", "secret", "token")) == "Credentials(key-id)"
