"""The trust bundle of a SPIFFE trust domain: a JWK Set with the keys of its authorities.

SPIFFE Trust Domain and Bundle, 4; JWT-SVID, 6.2; X509-SVID, 6.2.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from authorizer import strict_json
from authorizer.jwk import KeySet, has_private_part, parse_key_set

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

JWT_SVID = "jwt-svid"
X509_SVID = "x509-svid"

_CACHED_BUNDLES = 256

# The sequence number has 64 bits, and a JSON number is read with 53. A publisher may count nanoseconds.
_SEQUENCE = re.compile(rb'("spiffe_sequence"[ \t\r\n]*:[ \t\r\n]*)(0|[1-9][0-9]{0,19})(?=[ \t\r\n]*[,}])')


class TrustBundle:
    """The keys that sign for the SPIFFE IDs of one trust domain, and for no others.

    Members with an unknown or missing `use` are ignored, and so are members that cannot be read. A
    bundle without keys is valid: its trust domain has revoked all of them.

    Args:
        trust_domain: the trust domain; the document does not have its name.
        raw: the document.

    Raises:
        ValueError: it is not a JWK Set, or a sequence number or refresh hint is not an integer.
    """

    def __init__(self, trust_domain: str, raw: bytes) -> None:
        document = strict_json.parse_object(_SEQUENCE.sub(rb'\1"\2"', raw))
        members = document.get("keys")
        if not isinstance(members, list):
            raise ValueError("not a JWK Set")  # noqa: TRY004 - malformed like the others
        self.trust_domain = trust_domain
        self.sequence = _integer(document, "spiffe_sequence")
        self.refresh_hint = _integer(document, "spiffe_refresh_hint")
        self._members = [member for member in members if isinstance(member, dict)]
        self._jwt_keys: dict[str, KeySet] = {}

    @property
    def is_empty(self) -> bool:
        """True without any key for SVIDs."""
        return not any(member.get("use") in (JWT_SVID, X509_SVID) for member in self._members)

    @property
    def has_private_part(self) -> bool:
        """True if a member holds a private or symmetric key."""
        return any(map(has_private_part, self._members))

    def jwt_keys(self, alg: str) -> KeySet:
        """Return the keys that verify JWT-SVIDs of one algorithm, by key id.

        The members of a bundle have no `alg`. Such a key is used with every algorithm of its type.
        """
        found = self._jwt_keys.get(alg)
        if found is None:
            keys = [{"alg": alg, **member, "use": "sig"} for member in self._of_use(JWT_SVID)]
            found = parse_key_set(json.dumps({"keys": keys}).encode(), frozenset({alg}))
            self._jwt_keys[alg] = found
        return found

    @cached_property
    def authorities(self) -> tuple[Certificate, ...]:
        """The certificates of the authorities that issue X509-SVIDs."""
        certificates = (_certificate(member) for member in self._of_use(X509_SVID))
        return tuple(each for each in certificates if each and self._may_own(each))

    def _of_use(self, use: str) -> Iterator[Mapping[str, object]]:
        return (member for member in self._members if member.get("use") == use)

    def _may_own(self, authority: Certificate) -> bool:
        """Return whether an authority names no other trust domain. X509-SVID, 3.2."""
        from cryptography import x509

        try:
            names = authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return True
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            return False
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return all(uri.rstrip("/") == f"spiffe://{self.trust_domain}" for uri in uris)


@lru_cache(maxsize=_CACHED_BUNDLES)
def registered_bundle(trust_domain: str, document: str) -> TrustBundle:
    """Return a bundle that is part of a client's record.

    Raises:
        ValueError: it is malformed.
    """
    return TrustBundle(trust_domain, document.encode())


def _integer(document: Mapping[str, object], name: str) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, str) and name == "spiffe_sequence" and re.fullmatch("[0-9]{1,20}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{name} is not an integer")


def _certificate(member: Mapping[str, object]) -> Certificate | None:
    """Return the first certificate of a member, the others are ignored. X509-SVID, 6.2."""
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate

    chain = member.get("x5c")
    if has_private_part(member) or not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        return load_der_x509_certificate(a2b_base64(chain[0], strict_mode=True))
    except (ValueError, InvalidVersion):
        return None
