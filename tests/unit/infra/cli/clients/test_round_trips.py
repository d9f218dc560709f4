"""A clients file has every field but the secrets: an export can be applied unchanged."""

import string
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.shared.clients.supported import SIGNING_ALGORITHMS
from infra.cli.documents import CLIENTS as KIND
from infra.cli.documents import checked, client_document, parse_documents, to_yaml
from infra.cli.errors import UsageError
from tests.support.cli import CommandLine

VISIBLE = "".join(chr(code) for code in range(0x20, 0x7F))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
IDS = st.one_of(
    # YAML reads these as another type unless they are quoted.
    st.sampled_from(["yes", "null", "~", "1e3", "0x1F", "2027-01-31", "- a", "a: b", "#", "{}", "="]),
    st.text(VISIBLE, min_size=1, max_size=12),
)
SCOPES = st.text(string.ascii_letters + "0123456789:/.-_", min_size=1, max_size=8)
BY_SECRET = st.sets(st.sampled_from(["client_secret_basic", "client_secret_post"]), min_size=1).map(sorted)
KEY = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "kid": "1"}
KEYS = {"keys": [KEY]}
BUNDLE: dict[str, Any] = {"keys": [{**KEY, "use": "jwt-svid"}], "spiffe_sequence": 1}
PROOFS = st.one_of(
    st.fixed_dictionaries({"authentication_methods": BY_SECRET}),
    st.just({"authentication_methods": ["private_key_jwt"], "assertion": {"jwks": KEYS}}),
    st.fixed_dictionaries(
        {
            "authentication_methods": st.sampled_from([["spiffe_jwt"], ["spiffe_jwt", "spiffe_x509"]]),
            "spiffe": st.sampled_from(
                [
                    {"spiffe_id": "spiffe://example.org/a", "spiffe_bundle_endpoint": "https://a/b", "lifetime": 1},
                    {"spiffe_id": "spiffe://example.org/*", "bundle": BUNDLE, "one_time": True},
                ]
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "authentication_methods": st.just(["federated_jwt"]),
            "federation": st.lists(
                st.fixed_dictionaries(
                    {
                        "issuer": st.just("https://issuer.example"),
                        "audience": st.text(VISIBLE, min_size=1, max_size=8),
                        "subject": SCOPES,
                        "claims": st.dictionaries(TEXTS, TEXTS, max_size=2),
                        "max_age": st.integers(1, 3600),
                    }
                ),
                min_size=1,
                max_size=2,
            ),
        }
    ),
)
MEMBERS = st.fixed_dictionaries(
    {"client_id": IDS},
    optional={
        "name": TEXTS,
        "scopes": st.sets(SCOPES, max_size=4).map(sorted),
        "token_format": st.sampled_from(["jwt", "opaque"]),
        "token_profile": st.sampled_from(["plain", "at+jwt"]),
        "token_lifetime": st.integers(2, 86_400),
        "audience": st.lists(SCOPES, unique=True, max_size=2),
        "signing_algorithm": st.sampled_from(SIGNING_ALGORITHMS),
        "audience_signing_algorithms": st.dictionaries(SCOPES, st.sampled_from(SIGNING_ALGORITHMS), max_size=2),
        "claims": st.dictionaries(SCOPES, st.one_of(TEXTS, st.booleans(), st.integers(-9, 9)), max_size=2),
        "disabled": st.booleans(),
    },
)


def _client(parts: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any] | None:
    members, proofs = parts
    try:
        return client_document(checked({**members, **proofs}))
    except UsageError:
        return None  # contradicting fields cannot be in a table


CLIENTS = st.tuples(MEMBERS, PROOFS).map(_client).filter(lambda made: made is not None)


@given(st.lists(CLIENTS, max_size=4, unique_by=lambda made: made["client_id"] if made else ""))
def test_yaml_round_trip(documents: list[dict[str, Any]]) -> None:
    assert parse_documents(to_yaml(documents, KIND), "clients.yaml", KIND) == documents


def _is_unambiguous(documents: list[Any]) -> bool:
    """Return whether no token could authenticate two of the clients."""
    return all(sum(name in document for document in documents) < 2 for name in ("federation", "spiffe"))


@settings(
    max_examples=settings().max_examples // 8,  # each example runs five commands
    # All examples share one account; each starts with an empty table.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(CLIENTS, max_size=3, unique_by=lambda made: made["client_id"] if made else "").filter(_is_unambiguous))
def test_export_and_apply_round_trip(gatehouse: CommandLine, tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    def empty() -> None:
        for seen in list(gatehouse.clients.list()):
            gatehouse.clients.delete(seen)

    file = tmp_path / "clients.yaml"
    empty()
    for document in documents:
        gatehouse.clients.put(checked(document), None)
    exported = gatehouse("clients", "export").stdout
    file.write_text(exported, encoding="utf-8")
    assert gatehouse("clients", "diff", str(file)).code == 0
    empty()
    assert gatehouse("clients", "apply", str(file), "--yes").code == 0
    assert gatehouse("clients", "export").stdout == exported
    assert gatehouse("clients", "diff", str(file), "--json").json == {"changes": []}
