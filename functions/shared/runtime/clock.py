"""Where the time comes from."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch."""

SYSTEM_CLOCK: Clock = time.time
"""What runs in Lambda goes by. A test holds its own."""
