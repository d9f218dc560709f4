"""What each of the authorizer's steps had before it, in plain words."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authorizer import jws, strict_json
from infra.cli.terminal.times import readable, span
from infra.cli.tokens.reasons import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from authorizer.routes import Route
    from authorizer.settings import Settings
    from functions.shared.keys.key_ring import KeyRing
    from infra.cli.tokens.authorizer_copy import AuthorizerCopy


@dataclass(frozen=True)
class Known:
    """What the steps are explained with."""

    text: str
    copy: AuthorizerCopy
    ring: KeyRing | None
    ring_trouble: str
    now: float
    context: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """The authorizer's settings."""
        return self.copy.settings

    @property
    def header(self) -> dict[str, object]:
        """What the token says in its header, verified or not."""
        return _object(self.text, 0)

    @property
    def claims(self) -> dict[str, object]:
        """What it claims, verified or not."""
        return _object(self.text, 1)


def _rules(known: Known) -> Iterator[str]:
    yield f"those of {known.copy.rules_name}"
    yield from known.copy.notices


def _read(known: Known) -> Iterator[str]:
    kind = "a JWT" if jws.looks_like_jws(known.text) else "an opaque token"
    yield f"{kind} of {len(known.text)} characters"


def _header(known: Known) -> Iterator[str]:
    header = known.header
    typ = header.get("typ")
    accepted = ", ".join(sorted(known.settings.algorithms))
    yield f"alg {header.get('alg')} (accepted: {accepted}), {f'typ {typ}' if typ else 'no typ'}"


def _issuer(known: Known) -> Iterator[str]:
    settings = known.settings
    trusted = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    yield f"{known.claims.get('iss')} (trusted: {', '.join(trusted)})"


def _key(known: Known) -> Iterator[str]:
    kid = str(known.header.get("kid"))
    yield f"{kid}"
    if known.ring is None:
        yield f"its times are not known here: {known.ring_trouble}"
        return
    key = next((each for each in known.ring.keys if each.kid == kid), None)
    if key is None:
        yield "it is not in the deployment's key ring"
        return
    signing = f"signs since {readable(key.sign_from)}, for {span(known.now - key.sign_from)} now"
    if known.now < key.sign_from:
        signing = f"is to sign from {readable(key.sign_from)} on"
    elif key.sign_until is not None and key.sign_until <= known.now:
        signing = f"signed from {readable(key.sign_from)} until {readable(key.sign_until)}"
    yield signing
    yield f"published until {readable(key.publish_until, otherwise='its successor is announced')}"


def _signature(known: Known) -> Iterator[str]:
    yield f"of that key, over {known.text.rfind('.')} characters"


def _claims(known: Known) -> Iterator[str]:
    claims = known.claims
    accepted = ", ".join(sorted(known.copy.audiences)) or "any"
    yield f"aud {_listed(claims.get('aud'))} (accepted: {accepted})"
    client = next(
        (claims[name] for name in ("client_id", "azp", "cid", "appid") if claims.get(name)), None
    )
    yield f"sub {claims.get('sub', client)}" + (f", client {client}" if client else "")
    yield from _times(claims, known.now)
    if "jti" in claims:
        yield f"jti {claims['jti']}"


def _times(claims: Mapping[str, object], now: float) -> Iterator[str]:
    for name, before, after in (
        ("iat", "issued {} ago", "issued in {}"),
        ("nbf", "valid for {} now", "valid in {}"),
        ("exp", "ended {} ago", "{} left"),
    ):
        value = claims.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 33:
            said = before if value <= now else after
            yield f"{name} {readable(value)}: {said.format(span(value - now))}"


def _introspection(known: Known) -> Iterator[str]:
    yield f"asked {known.settings.introspection_uri}"
    if known.context:
        yield f"sub {known.context['sub']}, client {known.context['client_id']}"
        yield from _times({"exp": float(known.context["exp"])}, known.now)


def _revocation(known: Known) -> Iterator[str]:
    if known.settings.deny_list_table is None:
        yield "not looked up (CheckRevokedTokens is false)"
    else:
        yield f"looked up in {known.settings.deny_list_table}, which is believed for "
        yield f"{span(known.settings.deny_list_soft_age)}"


def _possession(known: Known) -> Iterator[str]:
    bound = known.claims.get("cnf") if jws.looks_like_jws(known.text) else None
    if isinstance(bound, dict) and bound:
        method = next(iter(bound))
        yield f"bound to a key by {'DPoP' if method == 'jkt' else 'a certificate'} ({method})"
    else:
        yield "bound to no key: whoever has the token can use it"


def _scopes(known: Known) -> Iterator[str]:
    # As the authorizer has read them: it is their reader.
    for scope in known.context.get("scope", "").split():
        routes = known.copy.scope_map.routes_for(frozenset((scope,)))
        yield f"{scope} opens {', '.join(map(readable_route, routes)) or 'nothing by itself'}"


SEEN: Final[Mapping[Stage, Callable[[Known], Iterable[str]]]] = {
    Stage.RULES: _rules,
    Stage.READ: _read,
    Stage.HEADER: _header,
    Stage.ISSUER: _issuer,
    Stage.KEY: _key,
    Stage.SIGNATURE: _signature,
    Stage.CLAIMS: _claims,
    Stage.INTROSPECTION: _introspection,
    Stage.REVOCATION: _revocation,
    Stage.POSSESSION: _possession,
    Stage.SCOPES: _scopes,
}


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def readable_route(route: Route) -> str:
    """Write a route for people: `GET /country/code/*`."""
    method, _, path = route.pattern().partition("/")
    return f"{method} /{path}"


def _object(text: str, part: int) -> dict[str, object]:
    """Read a part of a JWT as far as it can be read: what does not fit has been refused."""
    segments = text.split(".")
    try:
        segment = segments[part]
        raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        return strict_json.parse_object(raw)
    except (IndexError, ValueError):
        return {}
