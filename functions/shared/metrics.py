"""The metrics of the endpoints. They are written as members of the log lines."""

from authorizer.metrics import Metric

REQUESTS = Metric("Requests", (("endpoint", "outcome"),))
"""One per request. Its outcome is `success` or an error code."""

FAILURES = Metric("Failures", (("outcome",),))
"""One per response with an internal error: 5xx."""

LOCKOUTS = Metric("Lockouts")
"""One per 429: authentication has failed too often."""

UNUSABLE_KEY_RINGS = Metric("UnusableKeyRings", is_failure=True)
"""One each time that no key may sign, or the key ring or a private key is not available."""

UNCOUNTED_FAILURES = Metric("UncountedFailures", is_failure=True)
"""One per failed authentication that the rate limit could not count."""

KMS_SIGN_MILLISECONDS = Metric("KmsSignMilliseconds", unit="Milliseconds", is_measure=True)
"""Duration of a signature by KMS, or of its failure."""

METRICS = (REQUESTS, FAILURES, LOCKOUTS, UNUSABLE_KEY_RINGS, UNCOUNTED_FAILURES, KMS_SIGN_MILLISECONDS)
"""All metrics of the endpoints."""
