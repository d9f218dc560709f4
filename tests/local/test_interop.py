"""The checks of `make interop`, with the libraries of npm."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.page import Results, Row, write_page
from tests.interop.peers import PEERS
from tests.interop.run import check_invalid, check_valid, is_ready, started
from tests.support.laptop import ROOT, Laptop

NPM = {peer.name: peer for peer in PEERS if "npm" in peer.needs}
JOSE = NPM["jose"]


@pytest.mark.parametrize("name", NPM)
def test_npm_library_accepts_valid_tokens_only(packages: Path, laptop: Laptop, name: str) -> None:
    with started(NPM[name], laptop.addresses.issuer) as service:
        assert is_ready(service)
        check_valid(service, laptop)
        check_invalid(service, laptop)
    assert service.results.rejected == service.results.invalid > 0
    service.results.new_key = 0.0
    assert not list(Row(NPM[name], "1", service.results).failures())


def test_results_that_differ_are_failures() -> None:
    accepted_invalid = Results({"plain": 200, "at-jwt": 401}, 14, 13, failures=["plain: expired: 200"])
    row = Row(JOSE, "6.2", accepted_invalid)
    failures = ["jose: at-jwt: 401", "jose: tokens of a new key are rejected", "jose: plain: expired: 200"]
    assert list(row.failures()) == failures
    assert all(f"- {failure}\n" in write_page([row], {}) for failure in failures)


def test_docs_have_the_results_of_the_pinned_versions() -> None:
    page = (ROOT / "docs" / "interop.md").read_text()
    assert all(f"- {peer.name}: {peer.version()}\n" in page for peer in PEERS if peer.needs == ("go",))
    assert "## Failures" not in page


def test_program_that_ends_at_once_is_reported(laptop: Laptop) -> None:
    broken = replace(JOSE, command=lambda _: ("false",))
    with started(broken, laptop.addresses.issuer) as service:
        assert not is_ready(service)
    assert "does not start" in service.results.failures[0]


def test_page_names_what_was_left_out() -> None:
    peer = replace(JOSE, needs=("no-such-program",))
    assert f"- {peer.name}: {peer.missing()}.\n" in write_page([], {peer.name: peer.missing()})
