"""Tests of the FastAPI application: no network, no authorization server."""

from fastapi.testclient import TestClient
from fastapi_app import app

client = TestClient(app)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_token_with_the_scope_reads_orders(access_token):
    response = client.get("/orders", headers=bearer(access_token("orders.read")))
    assert response.json() == {"client": "test-client"}


def test_token_without_the_scope_is_forbidden(access_token):
    response = client.post("/orders", headers=bearer(access_token("orders.read")))
    assert response.status_code == 403
    assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="orders.write"'


def test_faulty_token_is_rejected(rejected_token):
    assert client.get("/orders", headers=bearer(rejected_token)).status_code == 401
