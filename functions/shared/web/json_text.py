"""JSON texts. `json.dumps` prepares an encoder for every call; here one is prepared and kept."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONEncoder, encoder
from typing import Any


def json_encoder(*, ensure_ascii: bool = True, compact: bool = False) -> Callable[[object], str]:
    """Return what renders members, lists and plain values as JSON, `compact` without spaces.

    It is the standard library's own encoder. Like that it raises TypeError for what JSON has no
    form for, and ValueError for numbers that it has none for.
    """
    item, key = (",", ":") if compact else (", ", ": ")
    plain = JSONEncoder(
        ensure_ascii=ensure_ascii, separators=(item, key), check_circular=False, allow_nan=False
    )
    in_c: Any = encoder.c_make_encoder  # type: ignore[attr-defined]  # None where there is no C
    if in_c is None:
        return plain.encode
    quote = encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
    markers = indent = None  # nothing of ours contains itself
    sort_keys = skip_keys = allow_nan = False
    parts = in_c(markers, plain.default, quote, indent, key, item, sort_keys, skip_keys, allow_nan)
    return lambda value: "".join(parts(value, 0))
