"""`gatehouse keys`: list, rotate and retire signing keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click
from rich.text import Text

from functions.rotate_keys.rotation_rules import SETTLING
from functions.shared.clients.client_record import (
    LONGEST_TOKEN_LIFETIME,
    SIGNING_ALGORITHMS,
    TokenFormat,
)
from functions.shared.keys.key_ring import IN_KMS, JWKS_MAX_AGE
from functions.shared.keys.warm_key_ring import STALE_SECONDS
from infra.cli.client_store import clients_of
from infra.cli.context import Session, pass_session
from infra.cli.errors import ConflictError, NotFoundError, UsageError
from infra.cli.key_operations import KeyRoom, find_key, retirable_from
from infra.cli.options import Command, Group
from infra.cli.output import counted, safe
from infra.cli.times import iso, readable, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functions.shared.clients.client_record import Client
    from functions.shared.keys.key_ring import KeyRing, RingKey


SIGNS, ANNOUNCED, RETIRED, GONE, STEPS_BACK = "signs", "announced", "retired", "gone", "stand-by"

_WIDTH: Final = 60
_NARROWEST: Final = 10
_MARKS: Final = {ANNOUNCED: "░", SIGNS: "█", RETIRED: "▒"}
_NOW: Final = "│"
_INDENT: Final = "  "
_NAMES: Final = 15
_HOUR: Final = 3600


def state(key: RingKey, ring: KeyRing, now: float) -> str:
    """Return what a key does at a moment, in one word."""
    if key.may_sign(now):
        # Of several that may, the youngest does: RFC 7515 leaves it to the signer.
        return SIGNS if ring.signing_key(now, key.alg) == key else STEPS_BACK
    if not key.is_published(now):
        return ANNOUNCED if now < key.publish_from else GONE
    return ANNOUNCED if now < key.sign_from else RETIRED


def to_document(key: RingKey, ring: KeyRing, now: float) -> dict[str, object]:
    """Render a key for programs; docs/cli.md says what each moment is. None: no date is set yet."""
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": state(key, ring, now),
        "edition": key.edition,
        "announced_at": iso(key.publish_from),
        "signs_from": iso(key.sign_from),
        "retired_at": iso(key.sign_until),
        "removable_from": iso(retirable_from(key)),
        "deleted_after": iso(key.publish_until),
    }


def lives(ring: KeyRing, now: float, width: int) -> list[Text]:
    """Tell each key's life, in the order in which they sign, each with a drawing to one scale."""
    keys = in_order(ring)
    if not keys:
        return []
    start, end = _span(keys, now)
    columns = min(_WIDTH, max(width - len(_INDENT) - 1, _NARROWEST))
    lines = [
        line
        for key in keys
        for line in (*_told(key, ring, now), _drawn(key, now, (start, end), columns), Text())
    ]
    return [*lines, *_legend(now, start, end)]


def _told(key: RingKey, ring: KeyRing, now: float) -> Iterator[Text]:
    kept = "KMS" if key.edition == IN_KMS else "a secret"
    yield Text(key.kid, style="bold")
    yield safe(f"{_INDENT}{key.alg}, kept in {kept}: {state(key, ring, now)}")
    for name, moment, otherwise in (
        ("announced", key.publish_from, ""),
        ("signs from", key.sign_from, ""),
        ("retired at", key.sign_until, "no date yet: when a successor signs"),
        ("deleted after", key.publish_until, "no date yet: when its last token has expired"),
    ):
        if moment is None:
            said = otherwise
        else:
            past = moment <= now
            away = f"{span(now - moment)} ago" if past else f"in {span(moment - now)}"
            said = f"{readable(moment)}, {away}"
        yield safe(f"{_INDENT}{name:<{_NAMES}}{said}")


def _legend(now: float, start: float, end: float) -> list[Text]:
    marks = "  ".join(f"{mark} {word}" for word, mark in _MARKS.items())
    return [
        safe(f"{_INDENT}{marks}  {_NOW} now, {readable(now)}"),
        safe(f"{_INDENT}drawn from {readable(start)} to {readable(end)}"),
    ]


def in_order(ring: KeyRing) -> list[RingKey]:
    """Return the keys in the order in which they sign."""
    return sorted(ring.keys, key=lambda key: (key.alg, key.sign_from, key.kid))


def _span(keys: Sequence[RingKey], now: float) -> tuple[float, float]:
    """Return the first and the last moment that the drawing shows: every one that is known."""
    moments = [
        each
        for key in keys
        for each in (key.publish_from, key.sign_from, key.sign_until, key.publish_until)
        if each is not None
    ]
    start, end = min(*moments, now), max(*moments, now)
    # Room for what has no end yet, and for the moment a ring is made.
    return start, end + max((end - start) / 6, _HOUR)


def _drawn(key: RingKey, now: float, shown: tuple[float, float], columns: int) -> Text:
    start, end = shown
    step = (end - start) / columns
    marks = [_mark(key, start + (column + 0.5) * step) for column in range(columns)]
    marks[min(int((now - start) / step), columns - 1)] = _NOW
    open_end = "…" if key.sign_until is None else ""
    return Text(f"{_INDENT}{''.join(marks)}{open_end}")


def _mark(key: RingKey, moment: float) -> str:
    if not key.is_published(moment):
        return " "
    if moment < key.sign_from:
        return _MARKS[ANNOUNCED]
    return _MARKS[SIGNS] if key.may_sign(moment) else _MARKS[RETIRED]


_SHOWN_CLIENTS: Final = 5
_HYPHENED: Final = re.compile(r"-[A-Za-z0-9_-]{42}")


@click.group(cls=Group)
def keys() -> None:
    """Look at the signing keys, rotate them, and withdraw them in an emergency."""


_algorithm = click.option(
    "--algorithm",
    type=click.Choice(SIGNING_ALGORITHMS),
    help="Whose keys; needed where the deployment has several algorithms.",
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@keys.command("list")
@pass_session
def list_keys(session: Session) -> None:
    """List the keys: what each does now, and when it is announced, signs, is retired, deleted."""
    with session.terminal.progress("Reading the key ring"):
        ring = KeyRoom(session).ring
    if not ring.keys:
        raise NotFoundError(
            f"{session.deployment.name} has no keys.",
            "A deployment makes the first one: invoke its function RotateKeys, and read its log.",
        )
    now = session.now()
    session.terminal.show(
        [to_document(key, ring, now) for key in in_order(ring)],
        *lives(ring, now, session.terminal.width),
    )


@keys.command()
@_algorithm
@_yes
@pass_session
def rotate(session: Session, *, algorithm: str | None, yes: bool) -> None:
    """Announce a new key ahead of schedule; it signs once every verifier can know it."""
    room = KeyRoom(session)
    with session.terminal.progress("Looking up how keys are rotated"):
        alg = _one_algorithm(room, algorithm)
    starts = session.now() + room.rules.announcing
    session.terminal.confirm(
        f"Announce a new {alg} key of {session.deployment.name}, to sign from about "
        f"{readable(starts)} on? Nothing breaks.",
        yes=yes,
    )
    with session.terminal.progress("Making a key and announcing it"):
        key = room.planned.rotate(alg)
    session.terminal.show(
        to_document(key, room.ring, session.now()),
        f"Key {key.kid} is announced, and signs from {readable(key.sign_from)} on.",
    )


@keys.command()
@click.option(
    "--revoke",
    "kid",
    metavar="KID",
    help="Withdraw this key too, and with it every token that it signed.",
)
@_algorithm
@_yes
@pass_session
def emergency(session: Session, *, kid: str | None, algorithm: str | None, yes: bool) -> None:
    """Let a new key sign at once, or withdraw a key; says what breaks first, and asks.

    Without --revoke tokens of the old key stay good. With --revoke a key is withdrawn and its
    tokens are refused; if it is the one that signs, a new one signs before it goes.
    """
    room = KeyRoom(session)
    with session.terminal.progress("Reading the key ring"):
        ring = room.ring
    doomed = find_key(ring, kid) if kid else None
    if doomed and algorithm not in (None, doomed.alg):
        raise UsageError(f"Key {doomed.kid} is a key for {doomed.alg}, not for {algorithm}.")
    alg = doomed.alg if doomed else _one_algorithm(room, algorithm)
    rotates = doomed is None or _is_last_to_sign(room, doomed, session.now())
    with session.terminal.progress("Looking up whose tokens it would be"):
        breaks = _what_breaks(session, room, alg, doomed, rotates=rotates)
    session.terminal.note_parts(*breaks)
    what = " and ".join(
        [f"Let a new {alg} key sign at once"] * rotates
        + ([f"withdraw key {doomed.kid}"] if doomed else [])
    )
    session.terminal.confirm(f"{what}, in {session.deployment.name}?", yes=yes)
    with session.terminal.progress("Writing the key ring"):
        made = room.emergency.rotate(alg) if rotates else None
        if doomed:
            room.emergency.revoke(doomed.kid)
        signs = _who_signs(room, alg)
    done = [f"Key {made} {'signs' if made == signs else 'is made'}."] if made else []
    done += [f"Key {doomed.kid} is withdrawn."] if doomed else []
    session.terminal.show(
        {"made": made, "signs": signs, "revoked": doomed.kid if doomed else None}, " ".join(done)
    )
    if made and made != signs:
        raise ConflictError(
            f"Somebody else changed the keys at the same moment: key {made} was made and does not "
            f"sign, {f'key {signs} does' if signs else 'and no other does'}.",
            "Look before you go on: gatehouse keys list.",
        )


class _TakesKid(Command):
    """A command whose argument may begin with a hyphen, as one key id in 64 does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        kids = [arg for arg in args if _HYPHENED.fullmatch(arg)]
        others = [arg for arg in args if arg not in kids]
        return super().parse_args(ctx, [*others, "--", *kids] if kids else others)


@keys.command(cls=_TakesKid)
@click.argument("kid")
@_yes
@pass_session
def retire(session: Session, kid: str, *, yes: bool) -> None:
    """Take a key out that no token needs any more, or one that has not signed yet.

    Refuses when good tokens would be refused, and says from when on it is possible.
    """
    room = KeyRoom(session)
    # First, so that nobody is asked about what is refused.
    with session.terminal.progress("Reading the key ring"):
        room.planned.may_retire(kid)
    session.terminal.confirm(
        f"Take key {kid} out of the key ring of {session.deployment.name}? Nothing breaks.", yes=yes
    )
    with session.terminal.progress("Writing the key ring"):
        room.planned.retire(kid)
    session.terminal.show({"kid": kid, "retired": True}, f"Key {kid} is gone.")


def _one_algorithm(room: KeyRoom, algorithm: str | None) -> str:
    known = room.settings.signing_algorithms()
    if algorithm is None and len(known) == 1:
        return known[0]
    if algorithm not in known:
        raise UsageError(
            f"{room.session.deployment.name} signs with {', '.join(known)}.",
            "Name one of them with --algorithm.",
        )
    return algorithm


def _who_signs(room: KeyRoom, alg: str) -> str | None:
    """Return the key that signs by the ring as it is now, whoever wrote it last."""
    ring, now = room.ring, room.session.now()
    may = [key for key in ring.keys if key.alg == alg and key.may_sign(now)]
    return ring.signing_key(now, alg).kid if may else None


def _is_last_to_sign(room: KeyRoom, doomed: RingKey, now: float) -> bool:
    return doomed.may_sign(now) and not any(
        key.alg == doomed.alg and key.may_sign(now) and key != doomed for key in room.ring.keys
    )


def _what_breaks(
    session: Session, room: KeyRoom, alg: str, doomed: RingKey | None, *, rotates: bool
) -> list[str]:
    lines = []
    if rotates:
        # What stays good is no question when the old key is withdrawn next.
        said = room.emergency.rotation_breaks(alg)
        lines += ["A new key that signs at once breaks:", *(said[:-1] if doomed else said)]
    if doomed:
        lines += [f"Withdrawing key {doomed.kid} breaks:"]
        lines += room.emergency.revocation_breaks(doomed.kid)
        lines += _whose_tokens(session, room, doomed)
    return lines


def _whose_tokens(session: Session, room: KeyRoom, doomed: RingKey) -> list[str]:
    """Say which tokens stop counting, and until when caches can still accept them."""
    now = session.now()
    if doomed.sign_from > now:
        return []
    deployment = session.deployment
    # Of one whose record cannot be read the worst is assumed: an emergency waits for no record.
    clients = [
        seen
        for seen in clients_of(session).list()
        if seen.readable is None or _gets_jwts(seen.readable, doomed.alg)
    ]
    if not clients:
        return [f"No client gets {doomed.alg} JWTs."]
    last = min(doomed.sign_until or now, now) + SETTLING
    ends = last + max(
        seen.readable.token_lifetime if seen.readable else LONGEST_TOKEN_LIFETIME
        for seen in clients
    )
    names = ", ".join(
        seen.client_id + (" (its record cannot be read)" if seen.fault else "")
        for seen in clients[:_SHOWN_CLIENTS]
    )
    more = f" and {len(clients) - _SHOWN_CLIENTS} more" if len(clients) > _SHOWN_CLIENTS else ""
    decisions = int(deployment.parameters.get("AuthorizerCacheSeconds", "300"))
    cached = now + STALE_SECONDS + JWKS_MAX_AGE + room.rules.verifier_cache + decisions
    if ends <= now:
        return [f"By the clients' lifetimes all its tokens expired by {readable(ends)}."]
    return [
        f"Whose: {counted(len(clients), 'client')}, {names}{more}.",
        (
            f"Which: those issued since {readable(doomed.sign_from)}, that would end by "
            f"{readable(ends)}."
        ),
        f"No cache accepts one after {readable(min(cached, ends))}.",
    ]


def _gets_jwts(client: Client, alg: str) -> bool:
    return (
        client.token_format is TokenFormat.JWT
        and client.signing_algorithm == alg
        and bool(client.grant_types)
    )
