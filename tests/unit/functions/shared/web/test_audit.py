import json

import pytest

from functions.shared.web.audit import AuditEntry, encode_members


def test_unknown_members_are_omitted() -> None:
    entry = AuditEntry("issue_token")
    entry.note(kid=None, scopes=("a", "b"))
    assert json.loads(entry.to_json()) == {"endpoint": "issue_token", "scopes": ["a", "b"]}


def test_encoded_members_follow_the_others() -> None:
    entry = AuditEntry("issue_token")
    entry.note_encoded(encode_members(kid=None, scopes=("a", "ä")))
    entry.note(status=200)
    expected = {"endpoint": "issue_token", "status": 200, "scopes": ["a", "ä"]}
    assert entry.to_json() == json.dumps(expected)


def test_unverified_client_id_is_named_so() -> None:
    entry = AuditEntry("issue_token")
    entry.claim_client("service")
    entry.recognize_client("service")
    assert json.loads(entry.to_json())["unverified_client_id"] == "service"


@pytest.mark.parametrize("claim", ["gh_cs_" + 43 * "x", "client gh_cs_x", "a\n{}", "\ud800", ""])
def test_unknown_client_id_is_logged_as_digest(claim: str) -> None:
    entry = AuditEntry("issue_token")
    entry.claim_client(claim)
    line = json.loads(entry.to_json())
    assert sorted(line) == ["endpoint", "unknown_client_digest"]
    assert len(line["unknown_client_digest"]) == 16
    assert not claim or claim not in entry.to_json()


def test_verified_client_replaces_the_claim() -> None:
    entry = AuditEntry("issue_token")
    entry.claim_client("a")
    entry.recognize_client("a")
    entry.verify_client("a")
    assert json.loads(entry.to_json()) == {"endpoint": "issue_token", "client_id": "a"}
