import json
import re

import pytest

from functions.shared.web import oauth_errors
from functions.shared.web.endpoint import to_response
from functions.shared.web.oauth_errors import OAuthError

CASES: list[tuple[type[OAuthError], int, str]] = [
    (oauth_errors.InvalidRequestError, 400, "invalid_request"),
    (oauth_errors.InvalidClientError, 401, "invalid_client"),
    (oauth_errors.UnauthorizedClientError, 400, "unauthorized_client"),
    (oauth_errors.UnsupportedGrantTypeError, 400, "unsupported_grant_type"),
    (oauth_errors.UnsupportedResponseTypeError, 400, "unsupported_response_type"),
    (oauth_errors.InvalidScopeError, 400, "invalid_scope"),
    (oauth_errors.ServerError, 500, "server_error"),
    (oauth_errors.TemporarilyUnavailableError, 503, "temporarily_unavailable"),
]


@pytest.mark.parametrize(("kind", "status", "code"), CASES)
def test_each_error_has_its_status_and_code(kind: type[OAuthError], status: int, code: str) -> None:
    answer = to_response(kind())
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["error"]) == (status, code)
    assert body.keys() == {"error", "error_description"}
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert answer["headers"]["Content-Type"] == "application/json"


def test_only_invalid_client_has_a_challenge() -> None:
    challenged = [kind for kind, *_ in CASES if "WWW-Authenticate" in to_response(kind())["headers"]]
    assert challenged == [oauth_errors.InvalidClientError]
    assert to_response(oauth_errors.InvalidClientError())["headers"]["WWW-Authenticate"] == 'Basic realm="gatehouse"'


def test_temporary_error_has_retry_after() -> None:
    assert to_response(oauth_errors.TemporarilyUnavailableError())["headers"]["Retry-After"] == "1"


def test_reason_is_not_sent() -> None:
    error = oauth_errors.InvalidClientError(reason="wrong client secret")
    assert str(error) == "wrong client secret"
    assert "wrong client secret" not in to_response(error)["body"]


def test_description_has_characters_of_rfc_6749_5_2() -> None:
    answer = to_response(oauth_errors.InvalidRequestError('a"b\\c\nd\x7fé!'))
    description = json.loads(answer["body"])["error_description"]
    assert description == "a?b?c?d??!"
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", description)
