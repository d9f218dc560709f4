"""JSON encoders of tokens, responses and log lines."""

from collections.abc import Callable
from json import JSONEncoder, encoder
from typing import Any


def json_encoder(*, ensure_ascii: bool = True, compact: bool = False) -> Callable[[object], str]:
    """Return an encoder of JSON; `compact` is without spaces.

    It is the standard library's, prepared once instead of at each `json.dumps`. It raises TypeError
    and ValueError for values that JSON does not have.
    """
    item, key = (",", ":") if compact else (", ", ": ")
    plain = JSONEncoder(ensure_ascii=ensure_ascii, separators=(item, key), check_circular=False, allow_nan=False)
    in_c: Any = encoder.c_make_encoder  # type: ignore[attr-defined]  # None without C
    if in_c is None:
        return plain.encode
    quote = encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
    markers = indent = None  # no value contains itself
    sort_keys = skip_keys = allow_nan = False
    parts = in_c(markers, plain.default, quote, indent, key, item, sort_keys, skip_keys, allow_nan)
    return lambda value: "".join(parts(value, 0))
