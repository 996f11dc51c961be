"""File names and paths: whatever is sent, what is kept is a line of harmless text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.images.files import _file_name
from app.images.naming import FALLBACK, MAX_FOLDER, MAX_NAME, clean_name, folder_of

ANY_TEXT = st.text(st.characters(), max_size=600)  # surrogates and control characters among them
PATHS = st.one_of(ANY_TEXT, st.lists(ANY_TEXT, max_size=5).map("/".join), st.lists(ANY_TEXT, max_size=5).map("\\".join))


@given(PATHS)
def test_a_name_is_one_harmless_line(raw: str) -> None:
    name = clean_name(raw)
    assert 0 < len(name) <= MAX_NAME
    assert not set("/\\\0\n\r") & set(name)
    assert name.strip(".")
    assert not {unicodedata.category(character) for character in name} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    name.encode()  # no half of a surrogate pair: databases refuse those


@given(PATHS)
def test_cleaning_twice_changes_nothing_more(raw: str) -> None:
    assert clean_name(clean_name(raw)) == clean_name(raw)


@given(PATHS)
def test_a_folder_is_one_harmless_line_or_nothing(raw: str) -> None:
    folder = folder_of(raw)
    if folder is not None:
        assert 0 < len(folder) <= MAX_FOLDER
        assert not set("/\\\0\n\r") & set(folder)
        assert folder.strip(".")


@given(PATHS)
def test_a_download_header_is_plain_text(raw: str) -> None:
    _file_name(clean_name(raw), "image/png").encode("ascii")


@pytest.mark.parametrize(
    ("raw", "name", "folder"),
    [
        ("a.png", "a.png", None),
        ("parts/scratch/01.png", "01.png", "scratch"),
        ("C:\\parts\\scratch\\01.png", "01.png", "scratch"),
        ("../../etc/passwd", "passwd", "etc"),
        ("/etc/passwd", "passwd", "etc"),
        ("..", FALLBACK, None),
        ("../..", FALLBACK, None),
        ("good/", FALLBACK, "good"),
        ("", FALLBACK, None),
        ("a\0b\r\n.png", "ab.png", None),
        ("gnp.\u202eexe.png", "gnp.exe.png", None),
        ("  two   spaces .png ", "two spaces .png", None),
        ("e\u0301.png", "\u00e9.png", None),
        ("./good/./1.png", "1.png", "good"),
        ("傷/画像.png", "画像.png", "傷"),
    ],
)
def test_examples(raw: str, name: str, folder: str | None) -> None:
    assert (clean_name(raw), folder_of(raw)) == (name, folder)


def test_a_long_name_keeps_its_ending() -> None:
    name = clean_name("x" * 400 + ".png")
    assert len(name) <= MAX_NAME
    assert name.endswith(".png")
