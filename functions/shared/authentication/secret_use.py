"""Records the day of each client secret's last use, so that operators can delete idle secrets.

The record is not part of the client's: a change replaces a client as a whole, and a use recorded at
the same time would be lost, or undo the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authorizer.recent import Recent
from functions.shared.storage.errors import StorageError
from functions.shared.storage.state_table import DAY

if TYPE_CHECKING:
    from functions.shared.storage.state_table import SecretUses

_REMEMBERED_USES: Final = 2048


class WarmSecretUses:
    """Keeps a secret's first use of each day that this process sees, and no other."""

    def __init__(self, uses: SecretUses) -> None:
        self._uses = uses
        self._days: Recent[tuple[str, str], int] = Recent(_REMEMBERED_USES)

    def note(self, client_id: str, digest: str, now: float) -> None:
        """Note a use. Never fails: whether a client may come in does not depend on it."""
        day = int(now) // DAY * DAY
        if self._days.get((client_id, digest)) == day:
            return
        # Before the write: a store in trouble must not slow down every request of the day.
        self._days.put((client_id, digest), day)
        try:
            self._uses.record(client_id, digest, day)
        except StorageError:
            return
