"""The bearer token of an event."""

from typing import Any

import pytest

from authorizer.bearer import read_token
from authorizer.errors import InvalidTokenError, Reason


def _request(*values: str, name: str = "Authorization") -> dict[str, Any]:
    return {
        "type": "REQUEST",
        "headers": {name: values[-1]},
        "multiValueHeaders": {name: list(values)},
        "queryStringParameters": None,
    }


@pytest.mark.parametrize(
    "event",
    [
        {"type": "TOKEN", "authorizationToken": "Bearer abc"},
        {"type": "TOKEN", "authorizationToken": "bearer abc"},
        {"type": "TOKEN", "authorizationToken": "BEARER  abc"},
        _request("Bearer abc"),
        _request("Bearer abc", name="authorization"),
        _request("Bearer abc", name="AUTHORIZATION"),
        {"type": "REQUEST", "version": "1.0", "headers": {"Authorization": "Bearer abc"}},
        {"type": "REQUEST", "version": "2.0", "headers": {"authorization": "Bearer abc"}},
        _request("Bearer abc") | {"requestContext": {"eventType": "CONNECT"}},
        _request("Bearer abc") | {"queryStringParameters": {"page": "2"}},
    ],
    ids=[
        "REST TOKEN",
        "scheme in lower case",
        "two spaces",
        "REST REQUEST",
        "header name in lower case",
        "header name in upper case",
        "HTTP API 1.0",
        "HTTP API 2.0",
        "WebSocket",
        "another query parameter",
    ],
)
def test_token_is_found_in_each_event_type(event: dict[str, Any]) -> None:
    assert read_token(event) == ("abc", False)


@pytest.mark.parametrize("value", ["DPoP abc", "dpop abc", "DPOP  abc"])
def test_dpop_scheme_is_reported(value: str) -> None:
    assert read_token(_request(value)) == ("abc", True)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({}, Reason.CREDENTIALS_MISSING),
        ({"type": "REQUEST", "headers": None}, Reason.CREDENTIALS_MISSING),
        ({"type": "REQUEST", "headers": {"Host": "x"}}, Reason.CREDENTIALS_MISSING),
        ({"type": "REQUEST", "headers": {"X-Authorized": "y"}}, Reason.CREDENTIALS_MISSING),
        (_request(""), Reason.CREDENTIALS_MISSING),
        (_request("  "), Reason.CREDENTIALS_MISSING),
        ({"type": "TOKEN", "authorizationToken": ""}, Reason.CREDENTIALS_MISSING),
        ({"type": "TOKEN"}, Reason.CREDENTIALS_MALFORMED),
        ({"type": "TOKEN", "authorizationToken": 1}, Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer a", "Bearer a"), Reason.CREDENTIALS_SEVERAL),
        (_request("Basic a", "Bearer a"), Reason.CREDENTIALS_SEVERAL),
        (_request("", "Bearer a"), Reason.CREDENTIALS_SEVERAL),
        (_request("Bearer a", ""), Reason.CREDENTIALS_SEVERAL),
        (
            {
                "type": "REQUEST",
                "headers": {"Authorization": "Bearer a", "authorization": "Bearer b"},
            },
            Reason.CREDENTIALS_SEVERAL,
        ),
        (_request("Bearer a, Bearer b"), Reason.CREDENTIALS_SEVERAL),
        (_request("Bearer a,b"), Reason.CREDENTIALS_SEVERAL),
        (
            _request("Bearer a") | {"queryStringParameters": {"access_token": "a"}},
            Reason.CREDENTIALS_SEVERAL,
        ),
        (
            {"type": "REQUEST", "queryStringParameters": {"access_token": "a"}},
            Reason.CREDENTIALS_MISSING,
        ),
        (_request("Basic YTpi"), Reason.SCHEME_WRONG),
        (_request("DPoPabc"), Reason.CREDENTIALS_MALFORMED),
        (_request("DPoP abc,def"), Reason.CREDENTIALS_SEVERAL),
        (_request("DPoP abc", "Bearer abc"), Reason.CREDENTIALS_SEVERAL),
        (_request("abc"), Reason.SCHEME_WRONG),
        (_request(" Bearer abc"), Reason.SCHEME_WRONG),
        (_request("Bearerabc"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer "), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer\tabc"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer abc "), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer abc\n"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer abc def"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer =abc"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer \u00e4bc"), Reason.CREDENTIALS_MALFORMED),
        (_request('Bearer "abc"'), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer\u00a0abc"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer Bearer abc"), Reason.CREDENTIALS_MALFORMED),
        (_request("Bearer token=abc"), Reason.CREDENTIALS_MALFORMED),
        (_request("JWT abc"), Reason.SCHEME_WRONG),
        (_request("Bearer abc", name="Authorization "), Reason.CREDENTIALS_MISSING),
        (_request("Bearer abc", name="author\u0131zation"), Reason.CREDENTIALS_MISSING),
        (_request("Bearer abc", name="AUTHOR\u0130ZATION"), Reason.CREDENTIALS_MISSING),
        (
            {"type": "REQUEST", "multiValueHeaders": {"Authorization": [["Bearer abc"]]}},
            Reason.CREDENTIALS_MALFORMED,
        ),
        (
            {"type": "REQUEST", "multiValueHeaders": {"Authorization": {"0": "Bearer abc"}}},
            Reason.CREDENTIALS_MALFORMED,
        ),
        (_request("Bearer abc") | {"type": "TOKEN"}, Reason.CREDENTIALS_MALFORMED),
    ],
)
def test_other_credentials_are_rejected(event: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        read_token(event)
    assert refused.value.reason is reason
