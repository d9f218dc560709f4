import json

from functions.shared.web.proxy_response import NO_STORE, json_response


def test_json_is_utf8_with_content_type() -> None:
    answer = json_response(200, {"name": "ÅLAND"})
    assert answer["headers"] == {"Content-Type": "application/json"}
    assert "ÅLAND" in answer["body"]
    assert json.loads(answer["body"]) == {"name": "ÅLAND"}
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False


def test_headers_are_added_to_the_content_type() -> None:
    headers = json_response(200, {}, NO_STORE)["headers"]
    assert headers == {"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
