"""A token endpoint with boto3 and PyJWT, for the benchmark of cold starts.

It does what Gatehouse's endpoint does, without most of its checks.
"""

import hashlib
import hmac
import json
import os
import time
import uuid
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import boto3
import jwt

dynamodb = boto3.client("dynamodb")
secrets_manager = boto3.client("secretsmanager")


def handle(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Respond to a client credentials request."""
    form = dict(parse_qsl(event["body"]))
    client_id, secret = map(unquote_plus, b64decode(event["headers"]["Authorization"][6:]).decode().split(":"))
    item: dict[str, Any] = dynamodb.get_item(
        TableName=os.environ["CLIENTS_TABLE"], Key={"client_id": {"S": client_id}}, ConsistentRead=True
    )["Item"]
    digest = f"sha256${hashlib.sha256(secret.encode()).hexdigest()}"
    if not hmac.compare_digest(digest, item["secrets"]["L"][0]["M"]["digest"]["S"]):
        return {"statusCode": 401}
    now = int(time.time())
    dynamodb.update_item(
        TableName=os.environ["STATE_TABLE"],
        Key={"entry": {"S": f"secret-use#{client_id}"}},
        UpdateExpression="SET last_used = :day",
        ExpressionAttributeValues={":day": {"N": str(now // 86_400 * 86_400)}},
    )
    allowed = {scope["S"] for scope in item["scopes"]["L"]}
    scopes = [scope for scope in form["scope"].split(" ") if scope in allowed]
    kid = _read_secret("KEY_RING_SECRET")["keys"][0]["kid"]
    private_key = _read_secret("SIGNING_KEYS_SECRET")["private_keys"][kid]
    claims = {
        "sub": client_id,
        "aud": client_id,
        "nbf": now,
        "scope": scopes,
        "iss": os.environ["ISSUER"],
        "exp": now + 14_400,
        "iat": now,
        "jti": uuid.uuid4().hex,
    }
    token = jwt.encode(claims, private_key, "RS256", headers={"kid": kid})
    print(json.dumps({"client_id": client_id, "scopes": scopes, "kid": kid}))
    body = {"access_token": token, "scope": " ".join(scopes), "token_type": "Bearer", "expires_in": 14_399}
    return {"statusCode": 200, "headers": {"Cache-Control": "no-store"}, "body": json.dumps(body)}


def _read_secret(variable: str) -> Any:
    return json.loads(secrets_manager.get_secret_value(SecretId=os.environ[variable])["SecretString"])
