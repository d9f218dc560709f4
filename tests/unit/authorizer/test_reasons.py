"""The vocabulary of refusals."""

import re

from authorizer.reasons import Reason
from authorizer.strict_json import Flaw


def test_every_flaw_of_json_has_a_reason_in_header_and_payload() -> None:
    for flaw in Flaw:
        assert Reason(f"header_{flaw}")
        assert Reason(f"payload_{flaw}")


def test_a_reason_reads_like_its_name_and_is_safe_in_a_log() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[a-z0-9_]+", reason.value)
        assert reason.value == reason.name.lower()
