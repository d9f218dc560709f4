"""docs/strictness.md matches the code."""

import pytest

from tests.strictness.behaviours import BEHAVIOURS, Behaviour
from tests.strictness.cases import CASES
from tests.strictness.report import DOCUMENT, case_verdicts, read_ours
from tests.strictness.titles import SECTIONS, TITLES

NAMES = [each[:2] for each in CASES] + [each[:2] for each in BEHAVIOURS]


DOCUMENTED = read_ours(DOCUMENT.read_text())


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: f"{each.number} {each.name}")
def test_the_authorizer_behaves_as_promised(behaviour: Behaviour) -> None:
    observed = behaviour.observe()
    assert observed.startswith(behaviour.expected)
    assert (behaviour.number, behaviour.name, observed) in DOCUMENTED


def test_every_numbered_case_has_a_title_and_a_variant() -> None:
    assert list(TITLES) == list(range(1, 98))
    assert {number for number, _ in NAMES} == set(TITLES)
    assert set(SECTIONS) < set(TITLES)


def test_no_two_variants_share_a_name() -> None:
    assert len(NAMES) == len(set(NAMES))


def test_the_document_is_what_the_code_does_now() -> None:
    """If this or a behaviour's test fails, `make strictness` writes the document again."""
    assert len(DOCUMENTED) == len(NAMES)
    assert set(case_verdicts()) <= set(DOCUMENTED)
