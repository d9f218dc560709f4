import re
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from functions.shared.clients.assertion_rules import FederationRule, matches_wildcards
from functions.shared.web.proxy_request import certificate_from_pem
from local.gateway.policy_evaluator import _expression

_LETTERS = st.text(alphabet="ab\n", max_size=12)
_CPU_SECONDS = 0.5
"""A match takes microseconds. With backtracking, the inputs below would take hours."""


@given(st.text(alphabet="ab*", max_size=8), _LETTERS)
def test_wildcard_pattern_equals_its_regex(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    expected = re.fullmatch(expression, text, re.DOTALL) is not None
    assert matches_wildcards(pattern, text) is expected


@given(st.text(alphabet="ab*?", max_size=8), _LETTERS)
def test_iam_pattern_equals_its_regex(pattern: str, text: str) -> None:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    expected = re.fullmatch(expression, text, re.DOTALL) is not None
    assert (_expression(pattern).fullmatch(text) is not None) is expected


def test_subject_pattern_matches_in_linear_time() -> None:
    rule = FederationRule(issuer="https://issuer.example", audience="a", subject="repo:" + "*a" * 30 + "*b")
    started = process_time()
    assert not rule.admits_subject("repo:" + "a" * 8_000)
    assert rule.admits_subject("repo:" + "a" * 8_000 + "b")
    assert process_time() - started < _CPU_SECONDS


def test_iam_pattern_matches_in_linear_time() -> None:
    expression = _expression("arn:" + "*a" * 30 + "*b")
    started = process_time()
    assert not expression.fullmatch("arn:" + "a" * 8_000)
    assert process_time() - started < _CPU_SECONDS


def test_certificate_of_line_breaks_is_linear() -> None:
    started = process_time()
    try:
        certificate_from_pem("-----BEGIN CERTIFICATE-----" + "\n" * 8_000 + "!")
    except ValueError:
        assert process_time() - started < _CPU_SECONDS
    else:
        raise AssertionError
