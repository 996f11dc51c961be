"""What holds for every template, and the macros that write numbers."""

import re
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from app.settings import ROOT

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


@pytest.fixture(scope="module")
def figures() -> object:
    environment = Environment(loader=FileSystemLoader(ROOT / "templates"), autoescape=True)
    environment.globals["asset"] = lambda path: f"/static/{path}"
    return environment.get_template("macros/figures.html").module


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_a_form_with_a_place_for_what_is_wrong_uses_it(path: Path) -> None:
    for form in re.findall(r"<form\b.*?</form>", path.read_text(), re.DOTALL):
        if "hx-post" in form and ("form_errors(" in form or "form__errors" in form):
            opening = form.split(">\n")[0]
            assert all(f"hx-status:{status}" in opening for status in (409, 422)), opening


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0312, "+0.031"), (-0.4, "−0.400"), (0.0, "0.000"), (-0.0, "0.000"), (-0.0004, "0.000"), (0.0004, "0.000")],
)
def test_signed_figures_have_a_true_minus(figures: object, value: float, text: str) -> None:
    assert str(figures.signed(value, 3)).strip() == text


def test_numbers_below_nothing_have_a_true_minus(figures: object) -> None:
    assert str(figures.number(-3.5156)).strip() == "−3.52"
    assert str(figures.number(3.5156)).strip() == "3.52"


def test_no_template_writes_a_signed_figure_of_its_own() -> None:
    own = [str(path) for path in TEMPLATES if re.search(r'"%\+', path.read_text()) and path.name != "figures.html"]
    assert own == []
