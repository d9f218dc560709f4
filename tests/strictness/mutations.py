"""Real tokens, mutated: the same ways for the bounded test and for `make fuzz`.

Most mutants are signed again with the true key. A mutant with a broken signature proves nothing,
because every verifier rejects it.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.tokens import CLIENT, ISSUER, at_jwt_claims, claims, encode, sign

_NAMES_OF_HEADER = ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5t", "cty", "zip", "x"]
_NAMES_OF_CLAIMS = [
    "iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp", "cnf", "jti", "client_id", "azp",
    "nonce", "token_use", "events", "x",
]  # fmt: skip
_WORDS = [
    ISSUER, CLIENT, "RS256", "none", "HS256", "JWT", "at+jwt", "application/at+jwt", "key-1",
    "country.read", "country.read customer.read", "*", "", " ", "é", "\u0000", "\ud800", "👾",
    "1700000000", "true",
]  # fmt: skip
_ODD_NUMBERS = [
    "0", "-0", "-1", "1.0", "1e3", "1E+10", "1e308", "1e309", "-1e999", "NaN", "Infinity",
    "9007199254740991", "9007199254740992", "9" * 40, "9" * 5000, "0.1", "01", "1.", "+1", "0x10",
]  # fmt: skip
_LITERALS = ["null", "true", "false", "[]", "{}", "[[]]", '{"a":{}}', "[null]", '[""]', "nul", ""]
_SPACES = ["", "", "", " ", "\n", "\t", "\r\n", "\u00a0", "\ufeff", "\x0b", "\x00"]


@cache
def _good() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return headers and claims of valid tokens, which expire in hours."""
    now = time.time()
    plain = {"alg": "RS256", "kid": "key-1"}
    profile = at_jwt_claims(now, aud=CLIENT)
    return [
        (plain, claims(now)),
        (plain | {"typ": "JWT"}, claims(now, scope="country.read", jti="one")),
        (plain | {"typ": "at+jwt"}, profile),
    ]


def _numbers() -> st.SearchStrategy[str]:
    now = int(time.time())
    near = st.integers(-100_000, 100_000).map(lambda offset: str(now + offset))
    written = st.sampled_from(["{}.0", "{}.5", "{}e0", "{}0e-1", '"{}"', "[{}]"])
    return st.one_of(
        near,
        st.builds(lambda form, number: form.format(number), written, near),
        st.sampled_from(_ODD_NUMBERS),
        st.floats(allow_nan=True).map(json.dumps),
    )


def _texts() -> st.SearchStrategy[str]:
    words = st.one_of(st.sampled_from(_WORDS), st.text(max_size=6))
    return st.builds(_write_text, words, st.sampled_from(["plain", "escaped", "raw"]))


def _write_text(word: str, form: str) -> str:
    if form == "escaped":
        units = word.encode("utf-16-be", "surrogatepass")
        pairs = zip(units[::2], units[1::2], strict=True)
        return '"' + "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs) + '"'
    return json.dumps(word, ensure_ascii=form == "plain")


def _values() -> st.SearchStrategy[str]:
    scalars = st.one_of(_texts(), _numbers(), st.sampled_from(_LITERALS))
    lists = st.lists(scalars, max_size=3).map(lambda items: f"[{','.join(items)}]")
    objects = st.lists(st.tuples(_texts(), scalars), max_size=2).map(
        lambda members: "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"
    )
    deep = st.integers(1, 20).map(lambda depth: "[" * depth + "]" * depth)
    return st.one_of(scalars, lists, objects, deep)


@st.composite
def _objects(draw: st.DrawFn, good: Mapping[str, Any], names: list[str]) -> bytes:
    """Write a good object with some members changed, added, doubled, dropped or reordered."""
    members = [(json.dumps(name), json.dumps(value)) for name, value in good.items()]
    for _ in range(draw(st.integers(0, 2))):
        name = json.dumps(draw(st.sampled_from(names)))
        at = draw(st.integers(0, len(members)))
        change = draw(st.sampled_from(["replace", "replace", "add", "double", "drop", "move"]))
        present = [index for index, (other, _) in enumerate(members) if other == name]
        if change == "replace":
            kept = [member for member in members if member[0] != name]
            members = [*kept, (name, draw(_values()))]
        elif change == "add":
            members.insert(at, (draw(_texts()), draw(_values())))
        elif present and change == "double":
            members.insert(at, (name, draw(st.one_of(st.just(members[present[0]][1]), _values()))))
        elif present and change == "drop":
            del members[present[0]]
        elif present:
            members.append(members.pop(present[0]))
    space = draw(st.sampled_from(_SPACES))
    text = f"{space}{{" + f",{space}".join(f"{n}:{space}{v}" for n, v in members) + f"}}{space}"
    encoding = draw(st.sampled_from(["utf-8"] * 12 + ["utf-16", "utf-8-sig", "latin-1"]))
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@st.composite
def _edited(draw: st.DrawFn, raw: bytes) -> bytes:
    """Flip, insert or delete a few bytes."""
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(raw)))
        taken = draw(st.integers(0, 2))
        raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + taken :]
    return raw


def _segments() -> st.SearchStrategy[Callable[[bytes], str]]:
    """Write base64url, most of the time in its canonical form."""
    other: list[Callable[[bytes], str]] = [
        lambda raw: urlsafe_b64encode(raw).decode(),
        lambda raw: encode(raw) + "=",
        lambda raw: encode(raw).replace("-", "+").replace("_", "/"),
        lambda raw: encode(raw) + "\n",
        lambda raw: " " + encode(raw),
        lambda raw: encode(raw)[:-1],
        _with_spare_bits,
    ]
    return st.sampled_from([encode] * 20 + other)


def _with_spare_bits(raw: bytes) -> str:
    text = encode(raw)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[(alphabet.index(text[-1]) + 1) % 64] if len(text) % 4 else text


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Draw a mutant of a valid token, sometimes the token itself."""
    good_header, good_claims = draw(st.sampled_from(_good()))
    header, payload = (json.dumps(part).encode() for part in (good_header, good_claims))
    part = draw(st.sampled_from(["payload", "payload", "header", "bytes", "text"]))
    if part == "payload":
        payload = draw(_objects(good_claims, _NAMES_OF_CLAIMS))
    elif part == "header":
        header = draw(_objects(good_header, _NAMES_OF_HEADER))
    elif part == "bytes" and draw(st.booleans()):
        payload = draw(_edited(payload))
    elif part == "bytes":
        header = draw(_edited(header))
    signed = f"{draw(_segments())(header)}.{draw(_segments())(payload)}"
    token = f"{signed}.{draw(_segments())(sign(signed.encode()))}"
    if part == "text":
        return draw(_edited(token.encode())).decode("latin-1")
    return token
