import json
from json import encoder
from typing import Any

import pytest

from functions.shared.clients.client import TokenFormat
from functions.shared.json_encoding import json_encoder

VALUES: list[Any] = [
    {},
    {"text": 'ä \\ " \u2028 \ud800 \U0001f600 \x00', "list": [1, -2.5, True, None], "tuple": ("a", [])},
    {"enum": TokenFormat.JWT, "deep": {"deeper": [{"deepest": 10**30}]}},
    "text",
    7,
]


@pytest.fixture(params=["in C", "without C"], autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without C":
        monkeypatch.setattr(encoder, "c_make_encoder", None)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_output_equals_the_standard_library(value: object, *, ensure_ascii: bool) -> None:
    expected = json.dumps(value, ensure_ascii=ensure_ascii)
    assert json_encoder(ensure_ascii=ensure_ascii)(value) == expected


@pytest.mark.parametrize("value", VALUES)
def test_compact_text_has_no_spaces(value: object) -> None:
    assert json_encoder(compact=True)(value) == json.dumps(value, separators=(",", ":"))


def test_encoder_can_be_used_again_and_again() -> None:
    write = json_encoder()
    assert [write({"number": number}) for number in range(2)] == ['{"number": 0}', '{"number": 1}']


@pytest.mark.parametrize(("value", "error"), [({"a": {1, 2}}, TypeError), ({"a": float("nan")}, ValueError)])
def test_unserializable_value_is_rejected(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        json_encoder()(value)
