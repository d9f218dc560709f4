"""`gatehouse keys`: what signs tokens, since when, and until when verifiers can find it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from functions.rotate_keys.rotation_rules import SETTLING
from functions.shared.clients.client_record import (
    LONGEST_TOKEN_LIFETIME,
    SIGNING_ALGORITHMS,
    TokenFormat,
)
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.warm_key_ring import STALE_SECONDS
from infra.cli.clients.table import clients_of
from infra.cli.keys.room import KeyRoom
from infra.cli.keys.timeline import in_order, lives, to_document
from infra.cli.session import Session, pass_session
from infra.cli.terminal.errors import ConflictError, NotFoundError, UsageError
from infra.cli.terminal.options import Command, Group
from infra.cli.terminal.rows import counted
from infra.cli.terminal.times import readable
from infra.emergency import find_key

if TYPE_CHECKING:
    from functions.shared.clients.client_record import Client
    from functions.shared.keys.key_ring import RingKey

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
