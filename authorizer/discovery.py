"""Where an issuer's keys are, by what it says itself (OpenID Connect Discovery 1.0, 4).

The authorization server finds the keys of the workloads that it trusts in the same way.
"""

from collections.abc import Callable

from authorizer import strict_json
from authorizer.clocks import Clocks, Instant
from authorizer.https_client import ExchangeFailed, Response, parse_url

DISCOVERY_SECONDS = 3600.0
"""How long an issuer's answer about where its keys are is used, unless its keys fail to come."""

_OK = 200
_NOT_MODIFIED = 304


class Discovery:
    """Fetches an issuer's key set from where the issuer says it is.

    `get` takes an address, an ETag and the seconds allowed, and raises `ExchangeFailed`.
    """

    def __init__(
        self, issuer: str, get: Callable[[str, str | None, float], Response], clocks: Clocks
    ) -> None:
        self._issuer = issuer
        self._get = get
        self._clocks = clocks
        self._found: tuple[str, Instant] | None = None
        self._etag_from: str | None = None

    def __call__(self, etag: str | None, seconds: float) -> Response:
        """Return the key set's answer; metadata and key set share the seconds.

        Raises:
            ExchangeFailed: one of them did not come, or the metadata are not this issuer's.
        """
        started = self._clocks.now()
        jwks_uri = self._jwks_uri(seconds)
        # Forgotten until the keys have come: an issuer may have moved them.
        found, self._found = self._found, None
        # An ETag means nothing at another address than the one that gave it.
        known = etag if jwks_uri == self._etag_from else None
        response = self._get(jwks_uri, known, self._clocks.left(seconds, started))
        if response.status == _NOT_MODIFIED and known is None:
            raise self._failure("304 from an address that was sent no ETag")
        if response.status in (_OK, _NOT_MODIFIED):
            self._found, self._etag_from = found, jwks_uri
        return response

    def _jwks_uri(self, seconds: float) -> str:
        if self._found and self._clocks.since(self._found[1]) < DISCOVERY_SECONDS:
            return self._found[0]
        now = self._clocks.now()
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        jwks_uri = self._read(self._get(url, None, seconds))
        self._found = jwks_uri, now
        return jwks_uri

    def _read(self, response: Response) -> str:
        """Read the metadata; its `issuer` must be the one asked for (4.3)."""
        if response.status != _OK:
            raise self._failure(f"status {response.status}")
        try:
            metadata = strict_json.parse_object(response.body)
            jwks_uri = metadata.get("jwks_uri")
            if metadata.get("issuer") != self._issuer or not isinstance(jwks_uri, str):
                raise self._failure("another issuer, or no jwks_uri")
            # http is for issuers on this machine: no other one may send us to its ports.
            if parse_url(jwks_uri).scheme not in ("https", parse_url(self._issuer).scheme):
                raise self._failure("a jwks_uri without TLS")
        except ValueError as error:
            raise self._failure(str(error)) from error
        return jwks_uri

    def _failure(self, fault: str) -> ExchangeFailed:
        return ExchangeFailed(f"metadata of {self._issuer}: {fault}")
