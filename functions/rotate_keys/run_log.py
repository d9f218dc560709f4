"""One JSON line per run: what was done, or why nothing was."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from authorizer.metrics import ERROR, Meter, Metric
from functions.rotate_keys.rotation_rules import UnsafeRotationError
from functions.shared.runtime.settings import MissingSettingsError
from functions.shared.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.rotator import Report
    from functions.shared.web.audit_log import Emit


ROTATIONS: Final = Metric("Rotations", (("outcome",),))
"""One for each run. Its outcome is `success` or `error`."""

SIGNING_KEY_AGE_DAYS: Final = Metric("SigningKeyAgeDays", is_measure=True)
"""For how long the oldest of the keys that sign has done so."""

METRICS: Final = (ROTATIONS, SIGNING_KEY_AGE_DAYS)
"""All that rotate_keys can emit."""


def logged(
    run: Callable[[], Report], emit: Emit = print, meter: Meter | None = None
) -> dict[str, object]:
    """Run and log it; what is raised is logged and raised on, so that Lambda counts an error."""
    meter = meter or Meter()
    line: dict[str, object] = {"function": "rotate_keys"}
    try:
        report = asdict(run())
    except Exception as error:
        line |= {"outcome": "error", "reason": reason(error)}
        emit(_with_metrics(line, meter.writer(ROTATIONS, level=ERROR)()))
        raise
    meter.note(SIGNING_KEY_AGE_DAYS, report["signing_key_age_days"])
    emit(_with_metrics({**line, "outcome": "success", **report}, meter.writer(ROTATIONS)()))
    return report


def _with_metrics(line: dict[str, object], metrics: str) -> str:
    return f"{json.dumps(line)[:-1]}{metrics}}}"


def reason(error: Exception) -> str:
    """Say what went wrong, without the text of errors that may quote a secret."""
    if isinstance(error, UnsafeRotationError | MissingSettingsError):
        return str(error)
    detail = error.reason if isinstance(error, StorageError) else None
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__
