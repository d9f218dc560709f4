from __future__ import annotations

import json

from functions.shared.audit_log import MAX_UNVERIFIED_LENGTH, AuditEntry
from functions.shared.client_secrets import generate_secret


def test_what_is_not_known_is_left_out() -> None:
    entry = AuditEntry("issue_token")
    entry.note(kid=None, scopes=("a", "b"))
    assert json.loads(entry.to_json()) == {"endpoint": "issue_token", "scopes": ["a", "b"]}


def test_an_unverified_claim_says_so_and_is_shortened() -> None:
    entry = AuditEntry("issue_token")
    entry.note_unverified(client_id="x" * 5000)
    assert json.loads(entry.to_json())["unverified_client_id"] == "x" * MAX_UNVERIFIED_LENGTH


def test_a_claim_cannot_start_a_new_line() -> None:
    entry = AuditEntry("issue_token")
    entry.note_unverified(client_id='a\n{"outcome":"success"}\u2028\x1b[31m')
    assert entry.to_json().isprintable()
    assert entry.to_json().isascii()


def test_a_secret_sent_as_the_client_id_is_withheld() -> None:
    secret = generate_secret()
    entry = AuditEntry("issue_token")
    entry.note_unverified(client_id=secret)
    assert secret[6:] not in entry.to_json()


def test_a_verified_client_takes_the_claims_place() -> None:
    entry = AuditEntry("issue_token")
    entry.note_unverified(client_id="a")
    entry.verify_client("a")
    assert json.loads(entry.to_json()) == {"endpoint": "issue_token", "client_id": "a"}
