"""The reasons of rejections."""

import re

from authorizer.errors import Reason
from authorizer.strict_json import JsonFault


def test_each_json_flaw_has_two_reasons() -> None:
    for flaw in JsonFault:
        assert Reason(f"header_{flaw}")
        assert Reason(f"payload_{flaw}")


def test_reason_equals_its_lower_case_name() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[a-z0-9_]+", reason.value)
        assert reason.value == reason.name.lower()
