"""What the authorization server's lines count and measure, beside what they say.

A metric is told apart by members of its line, and only by those with values from a fixed list.
"""

from __future__ import annotations

from typing import Final

from authorizer.metrics import Metric

REQUESTS: Final = Metric("Requests", (("endpoint", "outcome"),))
"""One for each request. Its outcome is `success` or an error's code."""

FAILURES: Final = Metric("Failures", (("outcome",),))
"""One for each answer that says that the fault is ours: 5xx."""

LOCKOUTS: Final = Metric("Lockouts")
"""One for each 429: somebody's authentication has failed too often."""

UNUSABLE_KEY_RINGS: Final = Metric("UnusableKeyRings", is_trouble=True)
"""One for each time that no key may sign, or the ring or a private half cannot be had."""

UNCOUNTED_FAILURES: Final = Metric("UncountedFailures", is_trouble=True)
"""One for each failed authentication that the throttle could not count."""

KMS_SIGN_MILLISECONDS: Final = Metric("KmsSignMilliseconds", unit="Milliseconds", is_measure=True)
"""How long KMS took to sign, or to fail."""

METRICS: Final = (
    REQUESTS,
    FAILURES,
    LOCKOUTS,
    UNUSABLE_KEY_RINGS,
    UNCOUNTED_FAILURES,
    KMS_SIGN_MILLISECONDS,
)
"""All that an endpoint can emit."""
