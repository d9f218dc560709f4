"""Key sets as real servers send them, with faults and oddities."""

import gzip
import json
from collections.abc import Iterator

import pytest

from authorizer.app import build
from authorizer.errors import AuthorizerUnavailableError, Unauthorized
from authorizer.settings import Settings
from tests.support.authorizer_events import decide
from tests.support.byte_server import ByteServer
from tests.support.clock import ManualClock
from tests.support.tokens import ISSUER, KID, jwks, mint, rest_event, rsa_jwk, rsa_key

GOOD = jwks(rsa_jwk())
KEY = json.dumps(rsa_jwk()).encode()


def http(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole HTTP response."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an HTTP response with one chunk."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x;more=1\r\n%s\r\n" % (len(body), body) + end


def beside(*members: object) -> bytes:
    """Return a key set of these members, followed by the valid key."""
    return http(jwks(*members, rsa_jwk()))  # type: ignore[arg-type]


class Sandbox:
    """An authorizer with its own clock, and the site as issuer."""

    def __init__(self, site: ByteServer) -> None:
        self._site = site
        self.clock = ManualClock()
        self._gate = build(
            Settings.from_env({"ISSUER": ISSUER, "JWKS_URI": site.url}),
            clock=self.clock,
            monotonic=self.clock,
            jitter=lambda: 0,
            emit=lambda _line: None,
        )

    def decide(self, *kids: str) -> tuple[list[str], int]:
        """Return the results for tokens with these key ids, and the number of fetches."""
        before = self._site.visits
        return [self._answer(mint(kid=kid)) for kid in kids], self._site.visits - before

    def _answer(self, token: str) -> str:
        try:
            decide(self._gate, rest_event(token), 5)
        except Unauthorized as refused:
            return f"401 {refused.__cause__}"
        except AuthorizerUnavailableError as failure:
            return f"500 {failure.reason}"
        return "good"


@pytest.fixture
def site() -> Iterator[ByteServer]:
    with ByteServer() as server:
        yield server


ODD_AND_GOOD = {
    "in a chunk": chunked(GOOD),
    "of no length": b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
    "of HTTP/1.0": http(GOOD).replace(b"/1.1", b"/1.0"),
    "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + http(GOOD),
    "as HTML": http(GOOD, "Content-Type: text/html"),
    "said to be packed": http(GOOD, "Content-Encoding: gzip"),
    "with two ETags": http(GOOD, 'ETag: "a"', 'ETag: "b"'),
    "with a text after the keys": http(GOOD[:-1] + b',"keys2":"\xc3\xa9"}'),
    "a key without a kid": beside({"kty": "RSA"}),
    "kids of other types": beside({"kid": 1}, {"kid": None}, {"kid": [KID]}, {"kid": {}}),
    "kids too short and too long": beside(*({"kid": "k" * n} for n in (0, 257, 5000))),
    "members that are no keys": beside(None, 1, "key", [], [[]]),
    "members of wrong types": beside(
        rsa_jwk("a", rsa_key(), use=[], alg={}),
        rsa_jwk("b", rsa_key(), key_ops=[[]]),
        rsa_jwk("c", rsa_key(), e=65_537),
        {"kty": {}, "crv": [], "kid": "d"},
    ),
    "hundreds of keys": beside(*(rsa_jwk(str(n), rsa_key()) for n in range(120))),
    "thousands of non-keys": beside(*([0] * 20_000)),
}


@pytest.mark.parametrize("answer", ODD_AND_GOOD.values(), ids=ODD_AND_GOOD)
def test_odd_key_set_response_is_used(site: ByteServer, answer: bytes) -> None:
    site.answer = answer
    sandbox = Sandbox(site)
    assert sandbox.decide(KID, KID) == (["good", "good"], 1)
    assert sandbox.decide("new", "new", "new") == (["401 kid_unknown"] * 3, 2)


NO_ANSWER = {
    "closed at once": b"",
    "closed in a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "closed in the body": http(GOOD)[:-20],
    "closed before the chunk's end": chunked(GOOD)[:-40],
    "closed before the last chunk": chunked(GOOD, b""),
    "too many headers": http(GOOD, *(f"X-{number}: y" for number in range(200))),
    "a chunk of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD,
    "too short a length": http(GOOD).replace(b"Content-Length: ", b"Content-Length: 1\r\nX: "),
    "no HTTP": GOOD,
    "a status of no meaning": http(GOOD, status="999 Odd"),
    "packed though not asked for": http(gzip.compress(GOOD), "Content-Encoding: gzip"),
    "a page": http(b"<!doctype html>", "Content-Type: text/html"),
    "a byte order mark": http(b"\xef\xbb\xbf" + GOOD),
    "UTF-16": http(GOOD.decode().encode("utf-16")),
    "UTF-32": http(GOOD.decode().encode("utf-32")),
    "Latin-1": http(GOOD[:-1] + b',"x":"\xe9"}'),
    "keys twice": http(b'{"keys":[],"keys":[' + KEY + b"]}"),
    "a kid twice in a key": http(b'{"keys":[' + KEY[:-1] + b',"kid":"x"}]}'),
    "NaN": http(b'{"keys":[{"kid":NaN},' + KEY + b"]}"),
    "too deep": http(GOOD[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "too long": beside(*(rsa_jwk(str(n), rsa_key()) for n in range(200))),
    "no keys": http(b'{"keys":null}'),
    "a part of it": http(GOOD, status="206 Partial Content"),
    "nothing": http(status="204 No Content"),
    "a redirect": http(GOOD, "Location: /elsewhere", status="302 Found"),
    "too many requests": http(GOOD, "Retry-After: 3600", status="429 Too Many Requests"),
    "out of service": http(GOOD, "Retry-After: 3600", status="503 Service Unavailable"),
}


@pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER)
def test_invalid_key_set_leaves_the_cache_unchanged(site: ByteServer, answer: bytes) -> None:
    failure = "500 key_set_unavailable"
    cold, warm = Sandbox(site), Sandbox(site)
    site.answer = http(GOOD)
    assert warm.decide(KID) == (["good"], 1)
    site.answer = answer
    assert cold.decide(KID, KID, "new") == ([failure] * 3, 1)
    warm.clock.advance(300)
    assert warm.decide(KID, "new", KID) == (["good", failure, "good"], 1)
    site.answer = http(jwks(rsa_jwk(), rsa_jwk("new")))
    for sandbox in (cold, warm):
        sandbox.clock.advance(1)
        assert sandbox.decide("new", KID) == (["good", "good"], 1)


WITHOUT_THE_KEY = {
    "no key": (http(jwks()), "kid_unknown"),
    "another's": (http(jwks(rsa_jwk("other"))), "kid_unknown"),
    "two keys of one id": (beside(rsa_jwk(KID, rsa_key("other"))), "kid_ambiguous"),
    "unfit": (http(jwks(rsa_jwk(use="enc"))), "key_use"),
}


@pytest.mark.parametrize(("answer", "reason"), WITHOUT_THE_KEY.values(), ids=WITHOUT_THE_KEY)
def test_unknown_key_costs_one_fetch(site: ByteServer, answer: bytes, reason: str) -> None:
    cold, warm = Sandbox(site), Sandbox(site)
    site.answer = http(GOOD)
    assert warm.decide(KID) == (["good"], 1)
    warm.clock.advance(300)
    site.answer = answer
    for sandbox in (cold, warm):
        assert sandbox.decide(KID, KID) == ([f"401 {reason}"] * 2, 1)
