import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.web.form import MAX_BODY_BYTES, Form, read_form
from functions.shared.web.oauth_errors import InvalidRequestError
from functions.shared.web.proxy_request import read_event
from tests.support.proxy_events import FORM, form_event


def _read(body: str, content_type: str = FORM, **kwargs: tuple[str, ...]) -> Form:
    request = read_event(form_event("/", body, headers={"Content-Type": content_type}))
    return read_form(request, **kwargs)


def test_names_and_values_are_form_decoded() -> None:
    form = _read("sc%6Fpe=a+b%2Bc&name=%C3%A4")
    assert (form.get("scope"), form.get("name")) == ("a b+c", "ä")


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_form_encoding_round_trips(parameters: dict[str, str]) -> None:
    form = read_form(read_event(form_event("/", parameters)))
    assert {name: form.get(name) for name in parameters} == parameters


@pytest.mark.parametrize("body", ["scope=", "scope", ""])
def test_empty_parameter_is_absent(body: str) -> None:
    assert _read(body).get("scope") is None


@pytest.mark.parametrize("body", ["a=1&a=2", "a=&a=2", "a&a", "a=1&%61=1"])
def test_parameter_sent_twice_is_rejected(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="more than once"):
        _read(body)


def test_repeatable_parameter_has_every_value() -> None:
    form = _read("resource=b&resource=a&resource=", repeatable=("resource",))
    assert form.get_all("resource") == ("b", "a")
    assert form.get("resource") == "b"


def test_required_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="parameter token is missing"):
        _read("token=").require("token")


@pytest.mark.parametrize("body", ["a=%", "a=%4", "a=%zz", "%=1", "a=100%&b=1"])
def test_broken_percent_encoding_is_rejected(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="percent-encoding is malformed"):
        _read(body)


@pytest.mark.parametrize("body", ["a=%FF", "a=%C3", "a=%ED%A0%80", "%80=1"])
def test_invalid_utf8_escape_is_rejected_without_echo(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="not UTF-8") as refusal:
        _read(body)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("body", ["a=ä", "a=\ud800"])
def test_body_that_is_not_ascii_is_rejected(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="not ASCII"):
        _read(body)


def test_body_limit_is_exact() -> None:
    longest = "a=" + "x" * (MAX_BODY_BYTES - 2)
    assert _read(longest).require("a")
    with pytest.raises(InvalidRequestError, match="longer than"):
        _read(longest + "x")


@pytest.mark.parametrize(
    "content_type",
    [
        FORM,
        FORM.upper(),
        f"{FORM};charset=UTF-8",
        f'{FORM} ; charset="utf-8"',
        f"{FORM}; boundary=x",
        f"{FORM}; charset=ISO-8859-1",
        f"{FORM};",
    ],
)
def test_form_media_type_ignores_case(content_type: str) -> None:
    assert _read("a=1", content_type).get("a") == "1"


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", f"{FORM}x", "multipart/form-data"])
def test_any_other_content_type_is_rejected(content_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="content type"):
        _read("a=1", content_type)


ASCII_COMPATIBLE = [
    *["utf8", "UTF8", "utf_8", '"utf8"', "'utf-8'", "", '""', "ascii", "US-ASCII", '"windows-1252"'],
    *["cp1252", "windows-1251", "windows-874", "iso-8859-15", "ISO8859-1", "latin1", "koi8-u"],
    *["unicode-1-1-utf-8", "csUTF8", "windows-31j", "windows-949", "ks_c_5601-1989", "gb_2312-80"],
    *["iso-8859-8-i", "x-mac-ukrainian", "dos-874", "cn-big5", "x-x-big5", "EUC-TW", "x-IBM943"],
    *["macintosh", "gb18030", "gbk", "big5", "euc-kr", "shift_jis", "ibm866", "x-mac-cyrillic"],
]


@pytest.mark.parametrize("charset", ASCII_COMPATIBLE)
def test_ascii_compatible_charset_labels_are_accepted(charset: str) -> None:
    assert _read("a=%C3%A4+b", f"{FORM}; charset={charset}").get("a") == "ä b"


NOT_ASCII_COMPATIBLE = [
    *["utf-16", "utf-16le", '"utf-16"', "utf-32", "utf-7", "ibm037", "cp500", "utf-8,utf-16"],
    *["rot13", "base64", "hex", "bogus", "a\x00b", "ä", "../utf_8"],
]


@pytest.mark.parametrize("charset", NOT_ASCII_COMPATIBLE)
def test_other_charset_labels_are_rejected(charset: str) -> None:
    with pytest.raises(InvalidRequestError, match="charset"):
        _read("a=1", f"{FORM}; charset={charset}")


def test_no_content_type_is_rejected() -> None:
    event = form_event("/", "a=1")
    event["multiValueHeaders"] = event["headers"] = None
    with pytest.raises(InvalidRequestError, match="content type"):
        read_form(read_event(event))


def test_escapes_are_utf8_for_any_charset() -> None:
    latin = f"{FORM}; charset=ISO-8859-1"
    assert _read("a=%C3%A4", latin).get("a") == "ä"
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        _read("a=%E4", latin)


@pytest.mark.parametrize("coding", ["identity", "Identity"])
def test_identity_encoding_is_accepted(coding: str) -> None:
    headers = {"Content-Type": FORM, "Content-Encoding": coding}
    assert read_form(read_event(form_event("/", "a=1", headers=headers))).get("a") == "1"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", ""])
def test_compressed_body_is_rejected(coding: str) -> None:
    headers = {"Content-Type": FORM, "Content-Encoding": coding}
    with pytest.raises(InvalidRequestError, match="compressed"):
        read_form(read_event(form_event("/", "a=1", headers=headers)))


@pytest.mark.parametrize("name", ["token", "access_token", "subject_token", "actor_token"])
def test_rfc6750_5_3_token_in_the_uri_is_rejected(name: str) -> None:
    event = form_event("/", "a=1", query={name: "x"})
    with pytest.raises(InvalidRequestError, match="URI"):
        read_form(read_event(event))


def test_rfc6749_3_2_other_parameters_in_the_uri_are_ignored() -> None:
    event = form_event("/", "a=1", query={"a": "2"})
    assert read_form(read_event(event)).get("a") == "1"
