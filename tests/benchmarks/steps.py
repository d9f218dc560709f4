"""The time of one decision, step by step."""

import gc
import json
import os
import time
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from statistics import median
from time import process_time_ns
from typing import Any, NamedTuple, TypeVar

from authorizer import claims, jws
from authorizer.app import build
from authorizer.authorizer import Authorizer, LambdaAuthorizer
from authorizer.claims import VerifiedToken
from authorizer.clock import Deadline
from authorizer.event import AuthorizerEvent
from authorizer.https_client import Response
from authorizer.jwk import VerificationKey
from authorizer.settings import Settings
from authorizer.verifier import digest_of
from tests.benchmarks.decisions import API, ISSUER, sign_tokens
from tests.benchmarks.results import Measurement, Section, measured
from tests.support.tokens import jwks, rest_event, rsa_jwk

_Input = TypeVar("_Input")
SOON = Deadline(3600)
TOKENS = 1200  # more than are remembered
ROUNDS, RUNS = 5, 60
_WHOLE, _REST = "the whole decision", "the rest: clocks, calls between the steps, colder CPU caches"


class _Token(NamedTuple):
    """One token in every state between the steps."""

    text: str
    digest: bytes
    event: AuthorizerEvent
    unverified: jws.UnverifiedJws
    claims: dict[str, object]
    verified: VerifiedToken


def steps() -> list[Section]:
    """Measure the steps of a decision on a new token, and of one on a token seen before."""
    function = build(
        Settings.from_env({"ISSUER": ISSUER, "AUDIENCE": API}), send=lambda _: Response(200, {}, jwks(rsa_jwk()))
    )
    gate = function.authorizer
    assert isinstance(gate, Authorizer)
    with open(os.devnull, "w", buffering=1) as nowhere, redirect_stdout(nowhere):
        tokens = [_take_apart(gate, text) for text in sign_tokens(TOKENS)]
        # Objects of the benchmark are not garbage of the authorizer.
        gc.collect()
        gc.freeze()
        return [_first(function, gate, tokens), _again(function, gate, tokens[0])]


def _take_apart(gate: Authorizer, text: str) -> _Token:
    unverified = jws.parse(text, gate._verifier._header)
    said = jws.parse_payload(unverified.payload)
    verified = gate._verifier.verify(text, time.time(), SOON)
    return _Token(text, digest_of(text), AuthorizerEvent(rest_event(text)), unverified, said, verified)


def _time(run: Callable[[_Input], object], inputs: Sequence[_Input]) -> list[float]:
    """Return each run's microseconds of processor time, one sample for each batch of runs."""
    for each in inputs:
        run(each)
    samples = []
    for at in range(0, ROUNDS * len(inputs), RUNS):
        start = at % len(inputs)
        batch = inputs[start : start + RUNS]
        started = process_time_ns()
        for each in batch:
            run(each)
        samples.append((process_time_ns() - started) / len(batch) / 1000)
    return samples


def _table(whole: list[float], each: dict[str, list[float]]) -> list[Measurement]:
    """List the steps, and what the whole takes beyond them."""
    rest = median(whole) - sum(map(median, each.values()))
    return [
        *(measured(name, samples, "µs") for name, samples in each.items()),
        Measurement(_REST, rest, "µs", len(whole)),
        measured(_WHOLE, whole, "µs"),
    ]


def _first(function: LambdaAuthorizer, gate: Authorizer, tokens: list[_Token]) -> Section:
    now, verifier, responses = time.time(), gate._verifier, gate._responses
    assert responses is not None
    trust = verifier._issuers[ISSUER]
    key = trust.keys.find(tokens[0].unverified.header.kid, SOON)
    stage = tokens[0].event.stage_arn()
    decide = partial(_time, lambda token: function.decide(token.event, SOON), tokens)
    whole = decide()
    with _signature_left_out(trust.keys, key):
        unsigned = decide()
    table = _table(
        whole,
        {
            "the token out of the event": _time(lambda token: token.event.presented_token(), tokens),
            "its digest": _time(lambda token: digest_of(token.text), tokens),
            "segments, base64url, header": _time(lambda token: jws.parse(token.text, verifier._header), tokens),
            "the payload's JSON": _time(lambda token: jws.parse_payload(token.unverified.payload), tokens),
            "the signature: the whole, less the whole without it": [each - median(unsigned) for each in whole],
            "the claims": _time(
                lambda token: claims.read_access_token(token.claims, trust.rules, now, key_id=key.kid, rfc9068=True),
                tokens,
            ),
            "the key and the subject looked up, two caches read and written": _time(
                _use_caches(gate, trust.keys, tokens[0]), tokens
            ),
            "policy, context": _time(lambda token: responses.write(token.verified, stage), tokens),
            "the log line": _time(_write_line(function, gate, tokens[0]), tokens),
        },
    )
    return Section(
        "Time of a first decision, by step",
        "Each step alone, repeated in one process, on the same tokens as the whole. A step alone finds warmer CPU "
        "caches, and the rest contains the difference. The last rows are C functions on the same bytes, without any "
        "check: they are the lower limit of a verifier in Python.",
        [
            *table,
            measured("lower limit: the signature alone",
                     _time(lambda token: key.verify("RS256", *token.unverified[2:]), tokens), "µs"),
            measured("lower limit: `json.loads` of the payload",
                     _time(lambda token: json.loads(token.unverified.payload), tokens), "µs"),
            measured("lower limit: `a2b_base64` of payload and signature",
                     _time(_decode_loosely, [_padded(token) for token in tokens]), "µs"),
        ],
        [],
    )  # fmt: skip


@contextmanager
def _signature_left_out(keys: Any, key: VerificationKey) -> Iterator[None]:
    published = keys._slot.entry.value.key_set.keys
    published[key.kid] = key._replace(check=lambda *_: None)
    yield
    published[key.kid] = key


def _use_caches(gate: Authorizer, keys: Any, first: _Token) -> Callable[[_Token], None]:
    verifier, stage = gate._verifier, first.event.stage_arn()
    verifier.verify(first.text, time.time(), SOON)
    cached, decision = verifier._cache.get(digest_of(first.text)), gate._decision(first.event, first.verified)
    assert cached is not None

    def use(token: _Token) -> None:
        verifier._cache.get(token.digest)
        verifier._known_subject_iat(token.claims, ISSUER)
        keys.find(cached.key.kid, SOON)
        verifier._cache.put(token.digest, cached)
        gate._decisions.get((id(token.verified), stage))
        gate._decisions.put((id(token.verified), stage), decision)

    return use


def _again(function: LambdaAuthorizer, gate: Authorizer, token: _Token) -> Section:
    now = time.time()
    again = [token] * RUNS
    digest = _time(lambda token: digest_of(token.text), again)
    verify = _time(lambda token: gate._verifier.verify(token.text, now, SOON), again)
    return Section(
        "Time of a repeated decision, by step",
        "As above. A hit in fast-jwt's cache is the second and the third row: it has no event, response or log line.",
        _table(
            _time(lambda token: function.decide(token.event, SOON), again),
            {
                "the token out of the event": _time(lambda token: token.event.presented_token(), again),
                "its digest": digest,
                "remembered, its key still published, its times": [each - median(digest) for each in verify],
                "the answer at this stage": _time(lambda token: gate._decision(token.event, token.verified), again),
                "the log line": _time(_write_line(function, gate, token), again),
            },
        ),
        [],
    )


def _write_line(function: LambdaAuthorizer, gate: Authorizer, token: _Token) -> Callable[[_Token], None]:
    decision = gate._decision(token.event, token.verified)
    end = function._end_of_allow
    return lambda token: function._log(token.event, decision.line, ISSUER, end)


def _padded(token: _Token) -> tuple[bytes, bytes]:
    """Return payload and signature as base64 of the standard alphabet."""
    raw = token.text.translate(str.maketrans("-_", "+/")).encode()
    _, payload, signature = raw.split(b".")
    return payload + b"==", signature + b"=="


def _decode_loosely(segments: tuple[bytes, bytes]) -> None:
    for segment in segments:
        a2b_base64(segment)
