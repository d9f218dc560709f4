"""What a request shows to prove who sent it, before anything about it is verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from functions.shared.web.oauth_errors import InvalidClientError

if TYPE_CHECKING:
    from functions.shared.web.client_certificate import ClientCertificate

# Kinds of credentials. Two methods that read the same kind are not two methods at once: which of
# them is meant is the client's registration to say.
BASIC: Final = "the Authorization header"
SECRET_PARAMETER: Final = "client_secret"
CLIENT_ASSERTION: Final = "client_assertion"
CERTIFICATE: Final = "the client certificate"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a request claims: a client, with a secret or an assertion or a certificate as proof."""

    unverified_client_id: str
    proof: str = field(default="", repr=False)
    certificate: ClientCertificate | None = None


class UsedProofError(InvalidClientError):
    """Raised when a proof is good but counted before. To a caller, any failure; no guess, though.

    A client that sends a request again after a lost answer must not run out of attempts.
    """
