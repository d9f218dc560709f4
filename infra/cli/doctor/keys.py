"""Checks of the key ring: signing keys, successors, and the rules of rotation."""

import json
from collections.abc import Iterator

from authorizer.https_client import MAX_BODY_LENGTH
from functions.shared.clients.client import TokenFormat
from functions.shared.keys.key_ring import RingKey, same_algorithm
from functions.shared.keys.rotation import RETENTION_NEEDED, UnsafeRotationError

from ...guards import MAX_ALB_KEYS
from ..times import readable, span
from .context import CheckContext, Checks, Finding, Findings, failure, named, ok, warning

_GRACE = 3 * 3600
"""Seconds. The rotator runs hourly, and two failures are tolerated."""

_INVOKE = "Invoke the function RotateKeys and read its log line."

CHECKS = Checks()


@CHECKS.add("keys", "signing")
def signing(context: CheckContext) -> Iterator[Finding]:
    """Each algorithm has a key that signs now."""
    for alg in context.keys.settings.signing_algorithms():
        keys = [key for key in context.ring.keys if same_algorithm(key.alg, alg)]
        if any(key.may_sign(context.now) for key in keys):
            key = context.ring.signing_key(context.now, alg)
            yield ok(f"{alg}: {key.kid} signs, for {span(context.now - key.sign_from)} now")
        elif coming := [key.sign_from for key in keys if key.sign_from > context.now]:
            yield failure(
                f"{alg}: nothing signs until {readable(min(coming))}; clients registered for it get no tokens",
                f"Wait, or make a key at once: gatehouse keys emergency --algorithm {alg}.",
            )
        else:
            yield failure(f"{alg}: no key signs and none is announced: no tokens", _INVOKE)


@CHECKS.add("keys", "rotation")
def rotation(context: CheckContext) -> Iterator[Finding]:
    """Each signing key has a successor in time."""
    rules, now = context.keys.rules, context.now
    for alg in context.keys.settings.signing_algorithms():
        last = _last_to_sign(context, alg)
        if last is None:
            continue
        due = last.sign_from + rules.signing
        if now >= due + _GRACE:
            yield failure(f"{alg}: {last.kid} was to sign until {readable(due)}, and has no successor", _INVOKE)
        elif now >= due - rules.announcing + _GRACE:
            yield warning(
                f"{alg}: a successor of {last.kid} was to be announced on {readable(due - rules.announcing)}", _INVOKE
            )
        elif last.sign_from > now:
            yield ok(f"{alg}: {last.kid} is announced, to sign from {readable(last.sign_from)}")
        else:
            yield ok(f"{alg}: a successor is due on {readable(due - rules.announcing)}")


def _last_to_sign(context: CheckContext, alg: str) -> RingKey | None:
    endless = [key for key in context.ring.keys if same_algorithm(key.alg, alg) and key.sign_until is None]
    return max(endless, key=lambda key: key.sign_from, default=None)


@CHECKS.add("keys", "rules")
def rules(context: CheckContext) -> Findings:
    """With the deployed times of rotation valid tokens are never rejected."""
    try:
        kept = context.keys.rules
    except UnsafeRotationError as error:
        for fault in error.faults:
            yield failure(fault, "Deploy with other parameters: docs/deploy.md, Keys.")
        return ""
    return (
        f"announced for {span(kept.announcing)}, of which {span(kept.announcement_needed)} are "
        f"needed; published for {span(kept.retiring)} after, of which {span(RETENTION_NEEDED)} are"
    )


@CHECKS.add("keys", "retention")
def retention(context: CheckContext) -> Findings:
    """Keys stay published as long as their tokens are valid."""
    short = [
        key.kid
        for key in context.ring.keys
        if key.sign_until is not None
        and key.publish_until is not None
        and key.publish_until < key.sign_until + RETENTION_NEEDED
    ]
    if short:
        yield failure(f"{named(short)} ends before its last token may", _INVOKE)
    return "every key stays until its last token has expired"


@CHECKS.add("keys", "algorithms")
def algorithms(context: CheckContext) -> Findings:
    """Each client with JWTs has an algorithm with a key."""
    able = {key.alg for key in context.ring.keys if key.may_sign(context.now)}
    missing = {
        client.client_id: {
            wanted for wanted in client.signing_algorithms if not any(same_algorithm(wanted, alg) for alg in able)
        }
        for client in context.clients
        if client.token_format is TokenFormat.JWT and client.grant_types
    }
    unable = [client_id for client_id, algorithms in missing.items() if algorithms]
    if unable:
        wanted = ", ".join(sorted(set().union(*missing.values())))
        yield failure(
            f"{named(unable)} cannot get tokens: no key signs {wanted}",
            "Add it to SigningAlgorithms, or register the client for another.",
        )
    return f"there is a key for every client ({', '.join(sorted(able))})"


@CHECKS.add("keys", "size of the key set")
def size(context: CheckContext) -> Findings:
    """The key set never has more keys than a load balancer reads, nor more bytes than Gatehouse's verifiers read."""
    published, most = len(context.ring.published_keys(context.now)), context.keys.most_published
    if most > MAX_ALB_KEYS:
        yield warning(
            f"{published} published, and there can be {most}: Application Load Balancers refuse all "
            f"tokens of a key set with more than {MAX_ALB_KEYS} keys",
            "Ignore this without such verifiers. Otherwise raise KeySigningDays, lower KeyRetireHours, "
            "or have fewer SigningAlgorithms.",
        )
    longest = max((len(json.dumps(key.to_jwk())) for key in context.ring.keys), default=0)
    if most * longest > MAX_BODY_LENGTH:
        yield failure(
            f"{most} keys of up to {longest} bytes can be published, and verifiers read {MAX_BODY_LENGTH} bytes",
            "Raise KeySigningDays, lower KeyRetireHours, or have fewer SigningAlgorithms.",
        )
    return f"{published} published, {most} at most"
