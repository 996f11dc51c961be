"""The OpenAPI description: every route for programs is in it, says how it may fail, and changes only on purpose.

After an intended change, write the snapshot anew: `.venv/bin/python -m tests.contract.test_openapi`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

SNAPSHOT = Path(__file__).with_name("openapi.json")
METHODS = {"get", "post", "put", "patch", "delete"}
# What any route for programs may answer: no key, not allowed, not there, not acceptable.
ALWAYS = {"401", "403", "404", "422"}


@pytest.fixture(scope="module")
def description(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def as_text(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_description_is_the_one_of_the_snapshot(description: dict[str, Any]) -> None:
    """A change of the contract is seen in a review, as a change of this file."""
    assert as_text(description) == SNAPSHOT.read_text(), (
        "the REST contract changed; if that is meant: .venv/bin/python -m tests.contract.test_openapi"
    )


def test_every_route_for_programs_is_described(app: FastAPI, description: dict[str, Any]) -> None:
    from app.main import all_routes

    routes = {
        (method.lower(), route.path)
        for route in all_routes(app)
        if route.path.startswith(("/v1", "/inference"))
        for method in route.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == {(method, path) for method, path, _ in operations(description)}


def test_every_route_says_how_it_may_fail(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        declared = operation["responses"]
        assert declared.keys() >= ALWAYS, f"{method} {path} lacks {ALWAYS - declared.keys()}"
        for status, answer in declared.items():
            if int(status) >= 400:
                assert "application/problem+json" in answer["content"], f"{method} {path} {status}"


def test_every_route_has_words_a_tag_and_the_key(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for *_, operation in operations(description)]
    assert len(names) == len(set(names))
    for method, path, operation in operations(description):
        assert operation.get("summary"), f"{method} {path}"
        assert operation.get("tags"), f"{method} {path}"
        if path.startswith("/v1"):
            assert operation["security"] == [{"ApiKey": []}], f"{method} {path}"


if __name__ == "__main__":
    from app.main import create_app

    SNAPSHOT.write_text(as_text(create_app().openapi()))
