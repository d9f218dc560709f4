"""One JSON line per run: what was done, or why nothing was."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from functions.rotate_keys.rotation_rules import UnsafeRotationError
from functions.shared.runtime.settings import MissingSettingsError
from functions.shared.web.oauth_errors import OAuthError

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.rotator import Report
    from functions.shared.web.audit_log import Emit


def logged(run: Callable[[], Report], emit: Emit = print) -> dict[str, object]:
    """Run and log it; what is raised is logged and raised on, so that Lambda counts an error."""
    line: dict[str, object] = {"function": "rotate_keys"}
    try:
        report = asdict(run())
    except Exception as error:
        emit(json.dumps({**line, "outcome": "error", "reason": reason(error)}))
        raise
    emit(json.dumps({**line, "outcome": "success", **report}))
    return report


def reason(error: Exception) -> str:
    """Say what went wrong, without the text of errors that may quote a secret."""
    if isinstance(error, UnsafeRotationError | MissingSettingsError):
        return str(error)
    detail = error.reason if isinstance(error, OAuthError) else None
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__
