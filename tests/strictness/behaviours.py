"""Cases of more than one token: how it is sent, proofs, opaque tokens, key sets.

Each runs against the authorizer, or its deciding part, with a test clock and network.
"""

import json
import threading
import time
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from authorizer.claims import LEEWAY
from authorizer.clock import Deadline
from authorizer.dpop import MAX_PROOF_AGE
from authorizer.https_client import MAX_BODY_LENGTH, HttpExchangeError, Request, parse_url, send
from authorizer.jwk_thumbprint import thumbprint
from authorizer.jws import MAX_PROOF_LENGTH
from tests.support import dpop_proofs
from tests.support.authorizer_events import HOSTS, recorded, with_certificate, with_header
from tests.support.authorizer_sandbox import Sandbox
from tests.support.byte_server import ByteServer
from tests.support.client_certificates import common_name_certificate
from tests.support.tokens import (
    CLIENT,
    ISSUER,
    NOW,
    claims,
    encode,
    forge,
    forge_claims,
    forge_header,
    mint,
    rest_event,
    rsa_jwk,
    rsa_key,
    unsigned,
)

_HOST = HOSTS["rest_request"]
_URL = f"https://{_HOST}/ms-system/country/code/AUS"
OPAQUE = "gh_an-opaque-token"


class Behaviour(NamedTuple):
    """A behaviour. The observed text begins with `expected`."""

    number: int
    name: str
    observe: Callable[[], str]
    expected: str


def _header(*values: str, **members: object) -> Callable[[], str]:
    """Send these Authorization headers."""

    def observe() -> str:
        headers = {"Authorization": values[-1]}
        several = {"Authorization": list(values)}
        event = rest_event(mint(), headers=headers, multiValueHeaders=several, **members)
        return Sandbox().outcome(event)

    return observe


def _bearer_and_query() -> str:
    query = {"access_token": mint()}
    return Sandbox().outcome(rest_event(mint(), queryStringParameters=query))


@cache
def _bound_by_key() -> str:
    return forge_claims(cnf={"jkt": thumbprint(dpop_proofs.public_jwk())})


def _digest(raw: bytes) -> str:
    return encode(sha256(raw).digest())


def _proof(**changes: Any) -> str:
    """Write a proof of the bound token for the recorded request."""
    said = {"htm": "GET", "htu": _URL, "ath": _digest(_bound_by_key().encode())}
    return dpop_proofs.proof(**(said | changes))


def _bound(*proofs: Callable[[], str], scheme: str = "DPoP", times: int = 1) -> Callable[[], str]:
    """Send a token bound to a key, with these proofs."""

    def observe() -> str:
        sandbox = Sandbox(PROOF_OF_POSSESSION="dpop", REPLAYS_IN_MEMORY="true")
        event = recorded("rest_request", _bound_by_key(), scheme)
        if proofs:
            event = with_header(event, "DPoP", *(make() for make in proofs))
        return ", then ".join(sandbox.outcome(event) for _ in range(times))

    return observe


def _unsigned_proof(alg: str) -> str:
    _, payload, _ = _proof().split(".")
    header = {"typ": "dpop+jwt", "alg": alg, "jwk": dpop_proofs.public_jwk()}
    return f"{encode(json.dumps(header).encode())}.{payload}."


def _with_certificates(*names: str) -> Callable[[], str]:
    """Send a token bound to the certificate `ours`, over connections with these."""

    def observe() -> str:
        der = common_name_certificate("ours").public_bytes(Encoding.DER)
        token = forge_claims(cnf={"x5t#S256": _digest(der)})
        event = recorded("rest_request", token)
        if names:
            pems = (common_name_certificate(name).public_bytes(Encoding.PEM).decode() for name in names)
            event = with_certificate(event, "".join(pems))
        return Sandbox(PROOF_OF_POSSESSION="mtls").outcome(event)

    return observe


def _introspected(answer: object, status: int = 200) -> Callable[[], str]:
    """Send an opaque token that the authorization server has this to say about."""

    def observe() -> str:
        sandbox = _with_introspection()
        sandbox.introspected, sandbox.introspection_status = answer, status
        return sandbox.outcome(OPAQUE)

    return observe


def _with_introspection() -> Sandbox:
    return Sandbox(
        INTROSPECTION_URI=f"{ISSUER}/oauth2/introspect",
        INTROSPECTION_CLIENT_ID="authorizer",
        INTROSPECTION_CLIENT_SECRET="secret",
        AUDIENCE=CLIENT,
    )


def _active(**changes: object) -> dict[str, object]:
    good = {"active": True, "client_id": CLIENT, "exp": NOW + 60, "aud": CLIENT, "iss": ISSUER}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def _failed_jwt_is_not_introspected(token: Callable[[], str]) -> Callable[[], str]:
    def observe() -> str:
        sandbox = _with_introspection()
        sandbox.introspected = _active()
        return sandbox.outcome(token())

    return observe


def _broken_signature() -> str:
    return mint()[:-8] + "AAAAAAAA"


def _flood(sandbox: Sandbox, count: int, *, subject: str = "unknown") -> str:
    """Send forged tokens, each of another key id; return what became of them."""
    said = claims(NOW, sub=subject, iat=int(sandbox.clock.now), nbf=NOW)
    kids = (f"random-{number}-{sandbox.clock.now}" for number in range(count))
    return ", ".join({sandbox.outcome(unsigned(said, kid=kid)) for kid in kids})


def _random_key_ids(subject: str) -> Callable[[], str]:
    def observe() -> str:
        sandbox = Sandbox()
        sandbox.outcome(mint())
        outcomes = _flood(sandbox, 1000, subject=subject)
        return f"{len(sandbox.requests)} fetches, {outcomes}"

    return observe


def _known_key_during_a_fetch() -> str:
    """Decide on a known key's token while the fetch for an unknown one hangs."""
    sandbox = Sandbox()
    known, unknown = mint(), forge_header(kid="random")
    sandbox.outcome(known)
    arrived, leave = threading.Event(), threading.Event()

    def hang() -> None:
        arrived.set()
        leave.wait(10)

    sandbox.while_sending = hang
    unknown_key = threading.Thread(target=sandbox.outcome, args=(unknown,))
    unknown_key.start()
    arrived.wait(10)
    outcome = sandbox.outcome(known)
    waiting = unknown_key.is_alive()
    leave.set()
    unknown_key.join()
    return f"{outcome} {'without waiting' if waiting else 'after waiting'}"


def _outage(seconds: int, *, again: Callable[[], str] = mint) -> Callable[[], str]:
    def observe() -> str:
        sandbox = Sandbox()
        sandbox.outcome(mint())
        sandbox.down = True
        sandbox.clock.advance(seconds)
        return sandbox.outcome(again())

    return observe


def _rotation(flood: int, *, subject: str = "unknown") -> Callable[[], str]:
    """Send the first token of a new key, a second after it was published."""

    def observe() -> str:
        sandbox = Sandbox()
        sandbox.outcome(mint())
        _flood(sandbox, flood, subject=subject)
        sandbox.keys.append(rsa_jwk("new"))
        sandbox.clock.advance(1)
        _flood(sandbox, flood, subject=subject)
        now = int(sandbox.clock.now)
        first = _of_the_new_key(iat=now, nbf=now)
        outcome = sandbox.outcome(first)
        if outcome == "accepted":
            return outcome
        sandbox.clock.advance(30)
        return f"{outcome}, {sandbox.outcome(first)} half a minute later"

    return observe


def _of_the_new_key(**changes: object) -> str:
    said = claims(NOW, **changes)
    return forge({"alg": "RS256", "kid": "new"}, said, key=rsa_key("new"))


def _withdrawn_key() -> str:
    sandbox = Sandbox()
    sandbox.outcome(mint())
    sandbox.keys = [rsa_jwk("other")]
    sandbox.clock.advance(300)
    return sandbox.outcome(mint())


def _soft_age(cache_control: str) -> Callable[[], str]:
    """Report after how many seconds the key set is fetched again."""

    def observe() -> str:
        sandbox = Sandbox()
        sandbox.headers = {"cache-control": cache_control}
        sandbox.outcome(mint())
        for age in range(1, 1000):
            sandbox.clock.advance(1)
            sandbox.outcome(mint())
            if len(sandbox.requests) > 1:
                return f"asked again after {age} s"
        return "never asked again"

    return observe


def _not_modified() -> str:
    sandbox = Sandbox()
    sandbox.headers = {"etag": '"v1"'}
    sandbox.outcome(mint())
    sandbox.clock.advance(300)
    return f"{sandbox.outcome(mint())}, {len(sandbox.requests)} fetches"


def _changed_etag() -> str:
    sandbox = Sandbox()
    sandbox.headers = {"etag": '"v1"'}
    sandbox.outcome(mint())
    sandbox.headers, sandbox.keys = {"etag": '"v2"'}, [rsa_jwk("other")]
    sandbox.clock.advance(300)
    return sandbox.outcome(mint())


def _fetched(answer: bytes, *, pause: float = 0.0) -> Callable[[], str]:
    """Fetch a key set, within half a second, from a server that sends these bytes."""

    def observe() -> str:
        with ByteServer(answer, pause) as server:
            started = time.monotonic()
            try:
                response = send(Request("GET", server.url, {}, b"", Deadline(0.5)))
            except HttpExchangeError:
                late = time.monotonic() - started > 5
                return "no answer taken, late" if late else "no answer taken"
            return f"status {response.status}, not followed" if response.status != 200 else "taken"

    return observe


def _refused_url(url: str) -> Callable[[], str]:
    def observe() -> str:
        try:
            parse_url(url)
        except ValueError as error:
            return f"refused: {error}"
        return "accepted"

    return observe


def _other_bytes() -> str:
    """Send a remembered token in other bytes: its signature's last character is another."""
    sandbox = Sandbox()
    token = mint()
    sandbox.outcome(token)
    return sandbox.outcome(token + "=")


def _other_configuration() -> str:
    """Send a token that one authorizer remembers to another of another audience."""
    first, second = Sandbox(AUDIENCE=CLIENT), Sandbox(AUDIENCE="https://other.example.com")
    token = mint()
    return f"{first.outcome(token)}, then {second.outcome(token)}"


def _remembered_and_expired() -> str:
    sandbox = Sandbox()
    token = mint()
    sandbox.outcome(token)
    sandbox.clock.advance(14_400)
    return sandbox.outcome(token)


_HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n" + b" " * (MAX_BODY_LENGTH + 2)
_MOVED = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
_DRIP = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000

BEHAVIOURS = [
    Behaviour(*row)
    for row in (
        (12, "two tokens in one header", _header(f"Bearer {mint()},{mint()}"),
         "401 credentials_several"),
        (12, "two headers", _header(f"Bearer {mint()}", f"Bearer {mint()}"),
         "401 credentials_several"),
        (12, "header and query parameter", _bearer_and_query, "401 credentials_several"),
        (13, "scheme Basic", _header("Basic Zm9vOmJhcg=="), "401 scheme_wrong"),
        (13, "no space after Bearer", _header(f"Bearer{mint()}"), "401 credentials_malformed"),
        (13, "no token after Bearer", _header("Bearer "), "401 credentials_malformed"),
        (13, "no header value", _header(""), "401 credentials_missing"),
        (56, "key withdrawn from the set", _withdrawn_key, "401 kid_unknown"),
        (77, "bound token sent as Bearer", _bound(scheme="Bearer"), "401 proof_required"),
        (77, "the same with its proof", _bound(_proof, scheme="Bearer"), "401 proof_required"),
        (78, "proof missing", _bound(), "401 proof_missing"),
        (78, "two proofs", _bound(_proof, _proof), "401 proof_several"),
        (78, "proof over the cap", _bound(lambda: _proof(x="x" * MAX_PROOF_LENGTH)),
         "401 token_too_long"),
        (79, "typ JWT", _bound(lambda: _proof(header={"typ": "JWT"})), "401 typ_not_allowed"),
        (79, "alg none", _bound(lambda: _unsigned_proof("none")), "401 alg_none"),
        (79, "alg HS256", _bound(lambda: _unsigned_proof("HS256")), "401 alg_symmetric"),
        (79, "private key in the header",
         _bound(lambda: _proof(header={"jwk": dpop_proofs.public_jwk() | {"d": "AAAA"}})),
         "401 key_private"),
        (80, "htm of another method", _bound(lambda: _proof(htm="POST")), "401 htm_other"),
        (80, "htu of another path", _bound(lambda: _proof(htu=_URL[:-3] + "NZL")),
         "401 htu_other"),
        (80, "htu of another host",
         _bound(lambda: _proof(htu=_URL.replace(_HOST, "api.example.com"))), "401 htu_other"),
        (80, "htu of another port",
         _bound(lambda: _proof(htu=_URL.replace(_HOST, _HOST + ":8443"))), "401 htu_other"),
        (80, "htu of another scheme", _bound(lambda: _proof(htu=_URL.replace("https", "http"))),
         "401 htu_other"),
        (80, "htu without the stage", _bound(lambda: _proof(htu=_URL.replace("/ms-system", ""))),
         "401 htu_other"),
        (80, "htu's path in another case", _bound(lambda: _proof(htu=_URL.replace("AUS", "aus"))),
         "401 htu_other"),
        (81, "iat too old", _bound(lambda: _proof(now=NOW - MAX_PROOF_AGE)),
         "401 proof_too_old"),
        (81, "iat too new", _bound(lambda: _proof(now=NOW + LEEWAY + 1)), "401 iat_in_future"),
        (82, "ath missing", _bound(lambda: _proof(ath=None)), "401 ath_missing"),
        (82, "ath of another token", _bound(lambda: _proof(ath=_digest(b"another"))),
         "401 ath_other"),
        (83, "valid proof, sent twice", _bound(cache(_proof), times=2),
         "accepted, then 401 proof_used"),
        (84, "proof of another key", _bound(lambda: _proof(number=2)), "401 jkt_other"),
        (85, "no certificate", _with_certificates(), "401 certificate_missing"),
        (85, "another certificate", _with_certificates("another"), "401 certificate_other"),
        (85, "two certificates", _with_certificates("ours", "another"),
         "401 certificate_malformed"),
        (86, "active missing", _introspected({}), "500 introspection_malformed"),
        (86, 'active is "true"', _introspected({"active": "true"}),
         "500 introspection_malformed"),
        (86, "active is 1", _introspected({"active": 1}), "500 introspection_malformed"),
        (86, "active is null", _introspected({"active": None}), "500 introspection_malformed"),
        (87, "active and expired", _introspected(_active(exp=NOW)), "401 expired"),
        (87, "active and not yet valid", _introspected(_active(nbf=NOW + LEEWAY + 1)),
         "401 not_yet_valid"),
        (87, "active for another audience", _introspected(_active(aud="another")),
         "401 aud_other"),
        (87, "active from another issuer", _introspected(_active(iss=ISSUER + "/")),
         "401 iss_unknown"),
        (88, "HTML", _introspected(b"<html>"), "500 introspection_malformed"),
        (88, "a redirect", _introspected(b"", 302), "500 introspection_status"),
        (89, "credentials of the authorizer refused", _introspected(b"", 401),
         "500 introspection_credentials"),
        (89, "the endpoint fails", _introspected(b"", 503), "500 introspection_unreachable"),
        (90, "JWT with an invalid signature is not introspected",
         _failed_jwt_is_not_introspected(_broken_signature), "401 signature_invalid"),
        (90, "opaque token with dots is not introspected",
         _failed_jwt_is_not_introspected(lambda: "a.b.c"), "401 segment_length"),
        (91, "a thousand random key ids after one valid token", _random_key_ids("unknown"),
         "2 fetches, 401 kid_unknown"),
        (91, "a thousand that name a client seen before", _random_key_ids(CLIENT),
         "3 fetches, 401 kid_unknown"),
        (92, "known key during a hanging fetch", _known_key_during_a_fetch,
         "accepted without waiting"),
        (93, "known key, the issuer is down for just under an hour", _outage(3599), "accepted"),
        (93, "known key, the issuer is down for an hour", _outage(3600),
         "500 key_set_unavailable"),
        (93, "unknown key, the issuer is down",
         _outage(1, again=lambda: forge_header(kid="random")), "500 key_set_unavailable"),
        (94, "first token of a new key", _rotation(0), "accepted"),
        (94, "first token of a new key during a flood", _rotation(200), "accepted"),
        (94, "the same, the flood naming a client seen before", _rotation(200, subject=CLIENT),
         "401 kid_unknown, accepted half a minute later"),
        (95, "304 keeps the set", _not_modified, "accepted, 2 fetches"),
        (95, "changed ETag, key gone", _changed_etag, "401 kid_unknown"),
        (95, "max-age=0", _soft_age("max-age=0"), "asked again after 60 s"),
        (95, "max-age of ten years", _soft_age("max-age=315360000"), "asked again after 300 s"),
        (96, "50 MB", _fetched(_HUGE), "no answer taken"),
        (96, "a byte every 0.1 s", _fetched(_DRIP, pause=0.1), "no answer taken"),
        (96, "redirect to the metadata address", _fetched(_MOVED), "status 302, not followed"),
        (96, "key set at a file URL", _refused_url("file:///etc/passwd"),
         "refused: not an https URL"),
        (96, "key set at plain http", _refused_url("http://169.254.169.254/"),
         "refused: an http URL of a host other than localhost"),
        (97, "remembered token in other bytes", _other_bytes, "401 segment_padded"),
        (97, "remembered token at another configuration", _other_configuration,
         "accepted, then 401 aud_other"),
        (97, "remembered token past its exp", _remembered_and_expired, "401 expired"),
    )
]  # fmt: skip
