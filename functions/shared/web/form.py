"""Strict parser of form bodies: application/x-www-form-urlencoded only."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from encodings import normalize_encoding
from encodings.aliases import aliases
from urllib.parse import unquote_plus

from .oauth_errors import InvalidRequestError
from .proxy_request import ProxyRequest

MAX_BODY_BYTES = 65_536
MEDIA_TYPE = "application/x-www-form-urlencoded"
TOKEN_PARAMETERS = frozenset({"token", "access_token", "subject_token", "actor_token", "assertion"})

_ASCII = bytes(range(0x20, 0x7F))
_UNALIASED_CODECS = {"koi8_u": "koi8_u", "windows_874": "cp874", "cp874": "cp874"}
# Labels of the Encoding Standard and of IANA that Python does not list, with `-` as `_`.
_OTHER_ASCII_COMPATIBLE = re.compile(
    r"""
    unicode_1_1_utf_8|unicode11utf8|unicode20utf8|csutf8|iso88592|csisolatin9
    |iso_8859_6_e|iso_8859_6_i|csiso88596e|csiso88596i|sun_eu_greek|iso_8859_8_e
    |iso_8859_8_i|csiso88598e|csiso88598i|logical|visual|koi|koi8|koi8_ru|mac
    |csmacintosh|mac_ukrainian|dos_874|user_defined|gb_2312|gb_2312_80|csgb2312
    |windows_936|cn_big5|x_big5|euc_tw|cseucpkdfmtjapanese|windows_31j|cswindows31j
    |ibm_943|ibm943|cseuckr|csksc56011987|iso_ir_149|ks_c_5601_1989|ksc_5601
    |windows_949|ibm00858|iso_646_irv_1991
    """,
    re.VERBOSE,
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(slots=True)  # a frozen one takes longer to create
class Form:
    """Parameters by name. One without a value counts as not sent. RFC 6749, 3.2."""

    values: Mapping[str, tuple[str, ...]] = field(repr=False)  # secrets are among them

    def get(self, name: str) -> str | None:
        """Return the value of a parameter, or None."""
        values = self.values.get(name)
        return values[0] if values else None

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every value of a parameter that may be repeated."""
        return self.values.get(name, ())

    def require(self, name: str) -> str:
        """Return the value of a parameter.

        Raises:
            InvalidRequestError: it was not sent.
        """
        value = self.get(name)
        if value is None:
            raise InvalidRequestError(f"The parameter {name} is missing.")
        return value


def read_form(request: ProxyRequest, *, repeatable: Collection[str] = ()) -> Form:
    """Read a request's form body.

    Raises:
        InvalidRequestError: the body has another media type or charset, or is compressed, too
            long or malformed. A parameter is repeated that is not in `repeatable`. A token is in
            the URI, which logs contain. RFC 6749, 3.2 and appendix B; RFC 6750, 5.3.
    """
    _check_content_type(request.header("content-type"))
    coding = request.header("content-encoding")
    if coding is not None and coding.lower() != "identity":
        raise InvalidRequestError("The request body must not be compressed.")
    if request.query and not TOKEN_PARAMETERS.isdisjoint(request.query):
        raise InvalidRequestError("A token must not be sent in the URI.")
    if len(request.body) > MAX_BODY_BYTES:
        raise InvalidRequestError(f"The request body is longer than {MAX_BODY_BYTES} bytes.")
    if not request.body.isascii():
        raise InvalidRequestError("The request body is not form-encoded: it is not ASCII.")
    return Form(_parameters(request.body.decode("ascii"), repeatable))


def form_decode(text: str) -> str:
    """Decode one form-encoded name or value.

    Raises:
        InvalidRequestError: a broken escape, or escaped bytes that are not UTF-8.
    """
    if "%" not in text:
        return text.replace("+", " ")
    if _BROKEN_ESCAPE.search(text):
        raise InvalidRequestError("A percent-encoding is malformed.")
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        # Not chained: the exception would carry the bytes, a secret perhaps, into the log.
        raise InvalidRequestError("A percent-encoding is not UTF-8.") from None


def _parameters(body: str, repeatable: Collection[str]) -> dict[str, tuple[str, ...]]:
    sent: dict[str, tuple[str, ...]] = {}
    decode = form_decode if "%" in body else str  # faster, for the bodies of most requests
    for pair in filter(None, body.replace("+", " ").split("&")):
        encoded_name, _, encoded_value = pair.partition("=")
        name = decode(encoded_name)
        if name in sent and name not in repeatable:
            raise InvalidRequestError("A parameter was sent more than once.")
        value = decode(encoded_value)
        sent[name] = sent.get(name, ()) + ((value,) if value else ())
    return sent


def _check_content_type(content_type: str | None) -> None:
    if content_type == MEDIA_TYPE:
        return
    media_type, *parameters = (content_type or "").split(";")
    if media_type.strip().lower() != MEDIA_TYPE:
        raise InvalidRequestError(f"The content type must be {MEDIA_TYPE}.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and not _is_ascii_compatible(value.strip(" \t\"'")):
            raise InvalidRequestError("The charset must be UTF-8.")


def _is_ascii_compatible(charset: str) -> bool:
    """Return whether ASCII bytes are the same characters in this charset; an empty label is UTF-8.

    The media type has no charset parameter, but clients send one. The body is ASCII and its escapes
    are UTF-8, therefore such a label changes nothing. Only names that Python lists are looked up,
    because Python caches failed look-ups without a bound.
    """
    if not charset:
        return True
    name = normalize_encoding(charset.lower()).replace(".", "_").removeprefix("x_")
    if _OTHER_ASCII_COMPATIBLE.fullmatch(name):
        return True
    codec = name if name in aliases.values() else aliases.get(name, _UNALIASED_CODECS.get(name))
    try:
        return codec is not None and _ASCII.decode(codec) == _ASCII.decode("ascii")
    except (LookupError, UnicodeError):
        return False
