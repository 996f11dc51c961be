"""The papers say what is there: tests that exist, routes that exist."""

import ast
import re
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI

from app.main import all_routes
from app.settings import ROOT

DOCS = ROOT / "docs"
ITEMS = {*range(1, 13), *range(17, 23)}


@lru_cache
def functions_of(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


def test_every_test_that_the_security_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "security.md").read_text())
    assert len(named) > 60
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(ROOT / file)]
    assert not missing, "\n".join(missing)


def test_the_security_page_has_every_item_and_each_names_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)$", (DOCS / "security.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == sorted(ITEMS)
    assert all("::test_" in row for _, row in rows)


def test_no_route_answers_csv_yet() -> None:
    """With the first one comes its test: cells that begin with = + - @ are prefixed (CSV injection)."""
    for path in (ROOT / "app").rglob("*.py"):
        assert "text/csv" not in path.read_text(), path


def test_the_rest_page_lists_every_route_for_programs_and_nothing_else(app: FastAPI) -> None:
    listed = re.findall(
        r"^\| `(GET|POST|PUT|DELETE) (/(?:v1|inference)[^`]*)` \|", (DOCS / "rest.md").read_text(), re.M
    )
    routes = {
        (method, route.path)
        for route in all_routes(app)
        if route.path.startswith(("/v1", "/inference"))
        for method in route.methods - {"HEAD", "OPTIONS"}
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == routes


def test_links_between_the_papers_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} leads to {target}"
