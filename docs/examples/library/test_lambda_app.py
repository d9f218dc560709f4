"""Tests of the Lambda function: its handler is called with events."""

from lambda_app import handler


def event(token):
    return {
        "version": "2.0",
        "headers": {"authorization": f"Bearer {token}"},
        "requestContext": {
            "http": {"method": "GET", "path": "/orders"},
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
        },
    }


def test_token_with_the_scope_is_accepted(access_token):
    assert handler(event(access_token("orders.read")), None)["statusCode"] == 200


def test_token_without_the_scope_is_forbidden(access_token):
    assert handler(event(access_token()), None)["statusCode"] == 403


def test_faulty_token_is_rejected(rejected_token):
    assert handler(event(rejected_token), None)["statusCode"] == 401
