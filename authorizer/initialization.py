"""Work done during Lambda's init phase, which has full processor power.

Lambda restores one SnapStart snapshot into many processes, possibly hours later. The snapshot therefore contains code
and settings only: no response of another service, secret, connection or random number.
"""

import gc
import os
from collections.abc import Callable, Mapping

MAX_SECONDS = 2.0
"""The time for fetches. Lambda ends an initialization after ten seconds."""

_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
_FROM_SNAPSHOT = "snap-start"


def initialize(
    build: Callable[[], object],
    fetch: Callable[[], object],
    environ: Mapping[str, str] = os.environ,
    max_seconds: float = MAX_SECONDS,
) -> None:
    """In Lambda, build the handler and fetch what its first request needs; elsewhere, do nothing.

    `fetch` is skipped for a SnapStart snapshot. Failures are ignored: the first request does the same again, and
    reports them. A slow fetch goes on in its thread.
    """
    kind = environ.get(_TYPE)
    if kind:
        _initialize(kind, build, fetch, max_seconds)
        gc.freeze()  # imported objects are never garbage
        gc.enable()  # disabled in `functions/__init__.py` and `authorizer/handler.py`


def _initialize(kind: str, build: Callable[[], object], fetch: Callable[[], object], max_seconds: float) -> None:
    if not _succeeds(build):
        return
    if kind == _FROM_SNAPSHOT:
        import http.client  # noqa: F401 - the first fetch needs both
        import ssl  # noqa: F401
    else:
        from threading import Thread

        thread = Thread(target=_succeeds, args=(fetch,), daemon=True)
        thread.start()
        thread.join(max_seconds)


def _succeeds(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception:  # noqa: BLE001 - the first request meets and reports it
        return False
    return True
