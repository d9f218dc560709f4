"""docs/interop.md, from the results of one run."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.interop.peers import ROUTES, Peer

REMARKS = {
    "jwx": "its cache fetches the key set by time, here each 15 seconds. An unknown `kid` causes no fetch. "
    "Without `jwk.WithIgnoreParseError` it does not use a key set that has an ML-DSA key",
    "oauth2-proxy": "it has one list of audiences. Both routes therefore accept the audiences of both profiles",
    "Spring Boot 4": "`JwtValidators.createAtJwtValidator()` checks `at+jwt` tokens",
    "Spring Boot 3": "the same program as for Spring Boot 4",
    "HAProxy": "it reads public keys from files. `make interop` writes a file for each key and reloads HAProxy",
    "nginx with njs": "`tests/interop/config/guard.js` verifies with WebCrypto of njs. nginx caches the key set",
    "mod_oauth2": "it also caches the result for each token. Issuer and audience are `Require oauth2_claim` lines",
}
HEADINGS = {"plain": "plain JWT", "at-jwt": "`at+jwt`", "opaque": "opaque", "client": "as client"}


@dataclass(slots=True)
class Results:
    """Statuses by route, numbers of invalid tokens, seconds until a new key is accepted (0: the first try)."""

    routes: dict[str, int] = field(default_factory=dict)
    invalid: int = 0
    rejected: int = 0
    new_key: float | None = None
    removed_key: int | None = None
    removed_key_later: int | None = None
    bound_token: int | None = None
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    peer: Peer
    version: str
    results: Results

    def failures(self) -> Iterator[str]:
        """Yield what was not as expected."""
        for route, status in self.results.routes.items():
            if (status == 200) == (route in self.peer.known):
                yield f"{self.peer.name}: {route}: {status}"
        if "at-jwt" in self.peer.routes and self.results.new_key is None:
            yield f"{self.peer.name}: tokens of a new key are rejected"
        yield from (f"{self.peer.name}: {failure}" for failure in self.results.failures)

    def cells(self) -> Iterator[str]:
        """Yield the cells."""
        yield self.peer.name
        for route in ROUTES:
            status = self.results.routes.get(route)
            yield "" if status is None else "yes" if status == 200 else f"no ({status})"
        yield f"{self.results.rejected} of {self.results.invalid}" if self.results.invalid else ""
        yield self._new_key()
        yield self._removed_key()
        yield {None: "", 200: "accepted"}.get(self.results.bound_token, "rejected")

    def _removed_key(self) -> str:
        cached, fetched = self.results.removed_key, self.results.removed_key_later
        if cached == 200 and fetched != 200:
            return "until a fetch"
        return {None: "", 200: "accepted"}.get(cached, "rejected")

    def _new_key(self) -> str:
        if "at-jwt" not in self.peer.routes:
            return ""
        if self.results.new_key is None:
            return "**never**"
        seconds = f"{self.results.new_key:.0f} s" if self.results.new_key else "at once"
        return f"{seconds}, reloaded" if self.peer.reload else seconds


def write_page(rows: Sequence[Row], left_out: Mapping[str, str]) -> str:
    """Write the page."""
    return "\n".join(_lines(rows, left_out)) + "\n"


def _lines(rows: Sequence[Row], left_out: Mapping[str, str]) -> Iterator[str]:
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    yield f"""# Verifiers and clients of other projects

Written by `make interop`, {datetime.now(UTC):%Y-%m-%d}, on {system}.

Every program in the table ran as its own process against `make run`. Its configuration was the
issuer's address, an audience and a client secret if needed. The sources are in `tests/interop`
and, for npm, in `tests/local/node`. `make interop` needs Go, a JDK with Maven, Node with npm, and
Debian's packages haproxy, nginx, libnginx-mod-http-js, apache2 and libapache2-mod-oauth2. Without
one of them it leaves programs out. An RS256 key signs the tokens. The key set also has a key for
each of the other algorithms.

## Results
"""
    headings = (
        "program",
        *HEADINGS.values(),
        "invalid tokens rejected",
        "new key accepted",
        "removed key",
        "key-bound token",
    )
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |"
    yield """
- An empty cell: the program does not have this function, or it was not tested.
- Invalid tokens of both JWT profiles: expired, wrong audience, wrong issuer, forged signature,
  unknown `kid`, `alg` none, and no token. The published key signs the first three. A valid token
  that is signed in the same way is accepted. Invalid opaque tokens: unknown, revoked, and no token.
  401 and 403 are rejections.
- As client: the program discovered the endpoints, requested a token, and the guarded API accepted
  the token.
- New key accepted: "at once", or the seconds until the program accepts a token of a new key.
  `gatehouse keys emergency` created the key half a minute earlier, while the program had the old key
  set. A planned rotation publishes the key a day earlier. Tokens of the previous key stayed valid.
- Removed key: the answer to a token of a key that `gatehouse keys emergency --revoke` removed half a
  minute earlier. "until a fetch": the program accepted the token from its cache, and rejected it
  after a token with an unknown `kid`. "accepted": also after that token.
- Key-bound token: the answer to an `at+jwt` token with `cnf.jkt` as a bearer token, without a DPoP
  proof. Gatehouse's authorizer and its library reject it.
"""
    yield "## Versions\n"
    yield from (f"- {row.peer.name}: {row.version}" for row in rows)
    yield "\n## Remarks\n"
    for row in rows:
        yield from (f"- {row.peer.name}, {HEADINGS[route]}: {why}." for route, why in row.peer.known.items())
        if row.peer.name in REMARKS:
            yield f"- {row.peer.name}: {REMARKS[row.peer.name]}."
    failures = [failure for row in rows for failure in row.failures()]
    if failures:
        yield "\n## Failures\n"
        yield from (f"- {failure}" for failure in failures)
    yield "\n## Left out\n"
    yield from (f"- {name}: {reason}." for name, reason in left_out.items())
    if not left_out:
        yield "None of the programs was left out."
