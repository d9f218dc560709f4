import pycountry
import pytest

from functions.look_up_country.handler import Countries, Country, MalformedCodeError, UnknownCountryError

DIRECTORY = Countries()
AUSTRALIA = Country("AUS", "AUSTRALIA")


@pytest.mark.parametrize("code", ["AUS", "aus", "Aus", "AU", "au", "036"])
def test_country_is_found_by_any_code(code: str) -> None:
    assert DIRECTORY.find(code) == AUSTRALIA


def test_every_country_has_three_codes() -> None:
    for entry in pycountry.countries:
        for code in (entry.alpha_2, entry.alpha_3, entry.numeric):
            for spelling in (code, code.lower()):
                assert DIRECTORY.find(spelling).code == entry.alpha_3


def test_name_is_in_upper_case_beyond_ascii_too() -> None:
    assert DIRECTORY.find("ALA").name == "ÅLAND ISLANDS"
    assert DIRECTORY.find("CIV").name == "CÔTE D'IVOIRE"


@pytest.mark.parametrize("code", ["ZZ", "ZZZ", "999", "000"])
def test_unassigned_code_is_unknown(code: str) -> None:
    with pytest.raises(UnknownCountryError):
        DIRECTORY.find(code)


@pytest.mark.parametrize(
    "code", ["", "A", "AUST", "36", "0036", "A1", "A1S", "AU\n", " AU", "ÄÖ", "٠٣٦", "\u017fs", "../a"]
)
def test_invalid_code_is_malformed(code: str) -> None:
    with pytest.raises(MalformedCodeError):
        DIRECTORY.find(code)


@pytest.mark.parametrize("limit", [1, 7, 50, 248, 249, 250])
def test_pages_list_every_country_once_in_order(limit: int) -> None:
    codes: list[str] = []
    after: str | None = ""
    while after is not None:
        countries, after = DIRECTORY.page(after=after, limit=limit)
        codes += [country.code for country in countries]
        assert len(countries) <= limit
    assert codes == sorted(entry.alpha_3 for entry in pycountry.countries)


def test_page_may_start_after_an_unassigned_code() -> None:
    countries, _ = DIRECTORY.page(after="ato", limit=1)
    assert [country.code for country in countries] == ["AUS"]


def test_page_after_the_last_country_is_empty() -> None:
    assert DIRECTORY.page(after="ZZZ", limit=5) == ([], None)


@pytest.mark.parametrize("after", ["AU", "036", "AUST", "AÄS", "A S"])
def test_page_after_an_invalid_code_is_malformed(after: str) -> None:
    with pytest.raises(MalformedCodeError):
        DIRECTORY.page(after=after, limit=5)
