"""SPIFFE IDs, and the clients that are registered by one (spiffe_jwt, spiffe_x509).

SPIFFE-ID, 2, and draft-ietf-oauth-spiffe-client-auth-02, 5.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..lifetimes import DAY
from ..storage.dynamodb_items import PlainRecord
from .assertion_rules import check_url

DEFAULT_SVID_LIFETIME = 3600
LONGEST_SVID_LIFETIME = DAY
MAX_SPIFFE_ID_LENGTH = 2048

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+"
_SPIFFE_ID = re.compile(rf"spiffe://([a-z0-9._-]{{1,255}})((?:/{_SEGMENT})*)")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A valid SPIFFE ID. A trust domain's own ID has an empty path."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        """Return the SPIFFE ID."""
        return f"spiffe://{self.trust_domain}{self.path}"


def parse_spiffe_id(candidate: object) -> SpiffeId | None:
    """Return the SPIFFE ID, None for any other value.

    An upper-case trust domain, percent encoding, empty or relative segments and a trailing slash
    are not valid. SPIFFE-ID, 2.1 and 2.2. A valid ID is therefore compared as text.
    """
    if not isinstance(candidate, str) or len(candidate) > MAX_SPIFFE_ID_LENGTH:
        return None
    match = _SPIFFE_ID.fullmatch(candidate)
    return match and SpiffeId(match[1], match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiffeRules(PlainRecord):
    """The workloads that authenticate as a client, and the keys of their trust domain.

    `spiffe_id` is one SPIFFE ID, or a prefix of whole path segments that ends with `/*`. The keys
    are in one of three places: in the SPIFFE bundle at `spiffe_bundle_endpoint`, in `bundle`, a
    SPIFFE bundle as JSON, or at `jwks_uri`. The last is a JWK Set without `use`, such as the one of
    SPIRE's OIDC discovery provider. It has keys for JWT-SVIDs only.

    `exp` of a JWT-SVID may be at most `lifetime` seconds ahead. With `one_time`, each JWT-SVID is
    accepted once (claim jti).
    """

    spiffe_id: str
    spiffe_bundle_endpoint: str = ""
    bundle: str = ""
    jwks_uri: str = ""
    lifetime: int = DEFAULT_SVID_LIFETIME
    one_time: bool = False

    def __post_init__(self) -> None:
        if parse_spiffe_id(self.spiffe_id.removesuffix("/*")) is None:
            raise ValueError("A spiffe_id is a SPIFFE ID, or a prefix of path segments that ends with /*.")
        if self.spiffe_id == f"spiffe://{self.trust_domain}":
            raise ValueError("The spiffe_id of a workload has a path.")
        if sum(map(bool, (self.spiffe_bundle_endpoint, self.bundle, self.jwks_uri))) != 1:
            raise ValueError("A client with a spiffe_id needs one of spiffe_bundle_endpoint, bundle and jwks_uri.")
        if not 0 < self.lifetime <= LONGEST_SVID_LIFETIME:
            raise ValueError(f"A JWT-SVID lives 1 to {LONGEST_SVID_LIFETIME} seconds.")
        for name in ("spiffe_bundle_endpoint", "jwks_uri"):
            if url := getattr(self, name):
                check_url(name, url)
        if self.bundle:
            self._check_bundle()

    @property
    def trust_domain(self) -> str:
        """The trust domain, whose keys alone can sign for the SPIFFE ID."""
        return self.spiffe_id.split("/", 3)[2]

    def admits(self, spiffe_id: SpiffeId) -> bool:
        """Return whether a workload is this client.

        `/ci/*` admits `/ci/a` and `/ci/a/b`, but neither `/ci` nor `/ci-a`.
        """
        return admits(self.spiffe_id, spiffe_id)

    def _check_bundle(self) -> None:
        from .trust_bundle import registered_bundle

        bundle = registered_bundle(self.trust_domain, self.bundle)
        if bundle.has_private_part:
            raise ValueError("The bundle holds a private or symmetric key. Register public keys only.")
        if bundle.is_empty:
            raise ValueError("The bundle has no key with the use jwt-svid or x509-svid.")


def admits(registered: str, spiffe_id: SpiffeId) -> bool:
    """Return whether a registered SPIFFE ID or prefix admits a workload."""
    if registered.endswith("/*"):
        return str(spiffe_id).startswith(registered[:-1])
    return str(spiffe_id) == registered


def overlap(one: str, other: str) -> bool:
    """Return whether one workload is admitted by both."""
    shorter, longer = sorted((one.removesuffix("*"), other.removesuffix("*")), key=len)
    return longer.startswith(shorter) if shorter.endswith("/") else one == other
