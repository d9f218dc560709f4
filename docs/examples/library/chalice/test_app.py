"""Tests of the Chalice app, through chalice's own test client."""

from app import app
from chalice.test import Client


def get(path, token):
    with Client(app) as client:
        return client.http.get(path, headers={"Authorization": f"Bearer {token}"})


def test_token_with_the_scope_reads_orders(access_token):
    assert get("/orders", access_token("orders.read")).json_body == {"client": "test-client"}


def test_token_without_the_scope_is_forbidden(access_token):
    assert get("/orders", access_token()).status_code == 403


def test_faulty_token_is_rejected(rejected_token):
    response = get("/orders", rejected_token)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
