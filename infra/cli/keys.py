"""`gatehouse keys`: list, rotate and retire signing keys."""

import re
from collections.abc import Iterator, Mapping

import click
from rich.text import Text

from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.key_ring import IN_KMS, JWKS_MAX_AGE, STALE_SECONDS, KeyRing, RingKey, same_algorithm
from functions.shared.keys.rotation import PROPAGATION_SECONDS, retirable_from
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME

from .context import CommandContext, pass_context
from .errors import ConflictError, NotFoundError, UsageError
from .key_operations import KeyAdmin, find_key
from .options import Command, Group
from .output import counted, safe
from .record_store import ClientTable
from .times import iso, readable, span

SIGNS, ANNOUNCED, RETIRED, GONE, STEPS_BACK = "signs", "announced", "retired", "gone", "stand-by"
STATE_WORDS: Mapping[str, str] = {
    ANNOUNCED: "upcoming",
    SIGNS: "current",
    STEPS_BACK: "standby",
    RETIRED: "retired",
    GONE: "removed",
}
"""States as a terminal shows them; JSON has the values above."""

_WIDTH = 60
_NARROWEST = 10
_MARKS = {ANNOUNCED: "░", SIGNS: "█", RETIRED: "▒"}
_NOW = "│"
_INDENT = "  "
_NAMES = 15
_HOUR = 3600


def state(key: RingKey, ring: KeyRing, now: float) -> str:
    """Return the state of a key at a moment."""
    if key.may_sign(now):
        # If several keys may sign, the youngest does.
        return SIGNS if ring.signing_key(now, key.alg) == key else STEPS_BACK
    if not key.is_published(now):
        return ANNOUNCED if now < key.publish_from else GONE
    return ANNOUNCED if now < key.sign_from else RETIRED


def to_document(key: RingKey, ring: KeyRing, now: float) -> dict[str, object]:
    """Return a key as JSON; docs/cli.md describes each time. None: no date is set yet."""
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": state(key, ring, now),
        "edition": key.backend,
        "announced_at": iso(key.publish_from),
        "signs_from": iso(key.sign_from),
        "retired_at": iso(key.sign_until),
        "removable_from": iso(retirable_from(key)),
        "deleted_after": iso(key.publish_until),
    }


def lives(ring: KeyRing, now: float, width: int) -> list[Text]:
    """Render the states and times of the keys in the order in which they sign, with a timeline."""
    keys = in_order(ring)
    if not keys:
        return []
    times = (time for key in keys for time in (key.publish_from, key.sign_from, key.sign_until, key.publish_until))
    moments = [now, *(time for time in times if time is not None)]
    # A margin for keys without an end, and for a new key ring.
    start, end = min(moments), max(moments) + max((max(moments) - min(moments)) / 6, _HOUR)
    columns = min(_WIDTH, max(width - len(_INDENT) - 1, _NARROWEST))
    marks = "  ".join(f"{mark} {STATE_WORDS[each]}" for each, mark in _MARKS.items())
    return [
        *(line for key in keys for line in (*_times(key, ring, now), _drawn(key, now, (start, end), columns), Text())),
        safe(f"{_INDENT}{marks}  {_NOW} now, {readable(now)}"),
        safe(f"{_INDENT}timeline from {readable(start)} to {readable(end)}"),
    ]


def _times(key: RingKey, ring: KeyRing, now: float) -> Iterator[Text]:
    backend = "KMS" if key.backend == IN_KMS else "Secrets Manager"
    yield Text(key.kid, style="bold")
    yield safe(f"{_INDENT}{key.alg}, {backend}: {STATE_WORDS[state(key, ring, now)]}")
    for name, moment, open_end in (
        ("published", key.publish_from, ""),
        ("signs from", key.sign_from, ""),
        ("signs until", key.sign_until, "a successor signs"),
        ("deleted after", key.publish_until, "its last token expires"),
    ):
        shown = open_end
        if moment is not None:
            away = f"{span(now - moment)} ago" if moment <= now else f"in {span(moment - now)}"
            shown = f"{readable(moment)}, {away}"
        yield safe(f"{_INDENT}{name:<{_NAMES}}{shown}")


def in_order(ring: KeyRing) -> list[RingKey]:
    """Return the keys in the order in which they sign."""
    return sorted(ring.keys, key=lambda key: (key.alg, key.sign_from, key.kid))


def _drawn(key: RingKey, now: float, shown: tuple[float, float], columns: int) -> Text:
    start, end = shown
    step = (end - start) / columns
    marks = [_mark(key, start + (column + 0.5) * step) for column in range(columns)]
    marks[min(int((now - start) / step), columns - 1)] = _NOW
    return Text(f"{_INDENT}{''.join(marks)}{'…' if key.sign_until is None else ''}")


def _mark(key: RingKey, moment: float) -> str:
    if not key.is_published(moment):
        return " "
    if moment < key.sign_from:
        return _MARKS[ANNOUNCED]
    return _MARKS[SIGNS] if key.may_sign(moment) else _MARKS[RETIRED]


_SHOWN_CLIENTS = 5
_HYPHENED = re.compile(r"-[A-Za-z0-9_-]{42}")


@click.group(cls=Group)
def keys() -> None:
    """List signing keys, rotate them, and revoke them in an emergency."""


_algorithm = click.option(
    "--algorithm",
    type=click.Choice(SIGNING_ALGORITHMS),
    help="Algorithm of the key; required if the deployment has several.",
)
_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@keys.command("list")
@pass_context
def list_keys(context: CommandContext) -> None:
    """List the keys with state and times.

    upcoming: published, does not sign yet. current: signs. standby: may sign, but a younger key
    does. retired: published until its last token expires. removed: no longer published.
    """
    with context.terminal.progress("Reading the key ring"):
        ring = KeyAdmin(context).ring
    if not ring.keys:
        raise NotFoundError(
            f"There are no keys in {context.deployment.label}.",
            "A deployment creates the first one: invoke its function RotateKeys and read its log.",
        )
    now = context.now()
    context.terminal.show(
        [to_document(key, ring, now) for key in in_order(ring)], *lives(ring, now, context.terminal.width)
    )


@keys.command()
@_algorithm
@_yes
@pass_context
def rotate(context: CommandContext, *, algorithm: str | None, yes: bool) -> None:
    """Publish a new key ahead of schedule; it signs once every verifier can have fetched it."""
    admin = KeyAdmin(context)
    with context.terminal.progress("Reading the rotation settings"):
        alg = _one_algorithm(admin, algorithm)
    starts = context.now() + admin.rules.announcing
    context.terminal.confirm(
        f"Publish a new {alg} key of {context.deployment.label} that signs from about "
        f"{readable(starts)}? All tokens stay valid.",
        yes=yes,
    )
    with context.terminal.progress("Creating and publishing a key"):
        key = admin.operations.announce(alg)
    context.terminal.show(
        to_document(key, admin.ring, context.now()),
        f"Key {key.kid} published; it signs from {readable(key.sign_from)}.",
    )


@keys.command()
@click.option("--revoke", "kid", metavar="KID", help="Also revoke this key and every token that it signed.")
@_algorithm
@_yes
@pass_context
def emergency(context: CommandContext, *, kid: str | None, algorithm: str | None, yes: bool) -> None:
    """Make a new key sign at once, or revoke a key; reports first what breaks.

    Without --revoke, tokens of the old key stay valid. With --revoke, a key is removed and its
    tokens are rejected; if it is the current key, a new key signs first.
    """
    admin = KeyAdmin(context)
    with context.terminal.progress("Reading the key ring"):
        ring = admin.ring
    target = find_key(ring, kid) if kid else None
    if target and algorithm not in (None, target.alg):
        raise UsageError(f"Key {target.kid} is for {target.alg}, not for {algorithm}.")
    alg = target.alg if target else _one_algorithm(admin, algorithm)
    now, same = context.now(), [key for key in ring.keys if same_algorithm(key.alg, alg)]
    rotates = target is None or [key for key in same if key.may_sign(now)] == [target]
    upcoming = [key.kid for key in same if rotates and key.sign_from > now and key != target]
    with context.terminal.progress("Reading the clients"):
        # The last sentence is about tokens of the old key, which a revocation contradicts.
        breaks = admin.operations.rotation_breaks(alg)[: -1 if target else None] if rotates else ()
        effects = ["A new key that signs at once:", *breaks] if breaks else []
        effects += [
            f"The upcoming key {each} is removed: an attacker with the old key may have it, too." for each in upcoming
        ]
        if target:
            effects += [f"Revoking key {target.kid}:", *admin.operations.revocation_breaks(target.kid)]
            effects += _affected_tokens(context, admin, target)
    context.terminal.note(*effects)
    actions = [f"make a new {alg} key sign at once"] * rotates
    actions += [f"remove the upcoming key {each}" for each in upcoming]
    actions += [f"revoke key {target.kid}"] if target else []
    what = " and ".join(actions)
    context.terminal.confirm(f"{what[0].upper()}{what[1:]}, in {context.deployment.label}?", yes=yes)
    with context.terminal.progress("Writing the key ring"):
        made = admin.operations.rotate_at_once(alg) if rotates else None
        if target:
            admin.operations.revoke(target.kid)
        now, left = context.now(), admin.ring
        can_sign = any(same_algorithm(key.alg, alg) and key.may_sign(now) for key in left.keys)
        signs = left.signing_key(now, alg).kid if can_sign else None
    done = [f"Key {made} {'signs' if made == signs else 'created'}."] if made else []
    done += [f"Upcoming key {each} removed." for each in upcoming]
    done += [f"Key {target.kid} revoked."] if target else []
    context.terminal.show({"made": made, "signs": signs, "revoked": target.kid if target else None}, " ".join(done))
    if made and made != signs:
        raise ConflictError(
            f"Another process changed the keys at the same moment: key {made} was created and does "
            f"not sign; {f'key {signs} does' if signs else 'no key does'}.",
            "List the keys before you go on: gatehouse keys list.",
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
@pass_context
def retire(context: CommandContext, kid: str, *, yes: bool) -> None:
    """Remove a key whose last token has expired, or that has not signed yet.

    Refuses to remove a key that valid tokens need, and prints from when it is possible.
    """
    admin = KeyAdmin(context)
    with context.terminal.progress("Reading the key ring"):
        admin.operations.check_retirement(kid)
    context.terminal.confirm(
        f"Remove key {kid} from the key ring of {context.deployment.label}? All tokens stay valid.", yes=yes
    )
    with context.terminal.progress("Writing the key ring"):
        admin.operations.retire(kid)
    context.terminal.show({"kid": kid, "retired": True}, f"Key {kid} removed.")


def _one_algorithm(admin: KeyAdmin, algorithm: str | None) -> str:
    known = admin.settings.signing_algorithms()
    if algorithm is None and len(known) == 1:
        return known[0]
    if algorithm not in known:
        raise UsageError(
            f"The algorithms of {admin.context.deployment.label} are {', '.join(known)}.",
            "Name one of them with --algorithm.",
        )
    return algorithm


def _affected_tokens(context: CommandContext, admin: KeyAdmin, target: RingKey) -> list[str]:
    """Return sentences about the rejected tokens, and until when caches accept them."""
    now = context.now()
    if target.sign_from > now:
        return []

    def gets_jwts(client: Client) -> bool:
        is_jwt = client.token_format is TokenFormat.JWT and bool(client.grant_types)
        return is_jwt and any(same_algorithm(alg, target.alg) for alg in client.signing_algorithms)

    # A client whose record cannot be read is assumed to be affected.
    clients = [each for each in ClientTable.of(context).list() if each.readable is None or gets_jwts(each.readable)]
    if not clients:
        return [f"No client gets {target.alg} JWTs."]
    last = min(target.sign_until or now, now) + PROPAGATION_SECONDS
    ends = last + max(seen.readable.token_lifetime if seen.readable else LONGEST_TOKEN_LIFETIME for seen in clients)
    names = ", ".join(
        seen.key + (" (its record cannot be read)" if seen.fault else "") for seen in clients[:_SHOWN_CLIENTS]
    )
    more = f" and {len(clients) - _SHOWN_CLIENTS} more" if len(clients) > _SHOWN_CLIENTS else ""
    decisions = int(context.deployment.parameters.get("AuthorizerCacheSeconds", "300"))
    cached = now + STALE_SECONDS + JWKS_MAX_AGE + admin.rules.verifier_cache + decisions
    if ends <= now:
        return [f"All its tokens have expired by {readable(ends)}."]
    return [
        f"Affected: {counted(len(clients), 'client')}, {names}{more}.",
        f"Their tokens issued since {readable(target.sign_from)}, expiring by {readable(ends)}.",
        f"No cache accepts one after {readable(min(cached, ends))}.",
    ]
