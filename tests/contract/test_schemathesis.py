"""Requests made from the OpenAPI description, good and bad ones: no fault of ours, and answers as described."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from tests import factories

schema = schemathesis.openapi.from_asgi("/openapi.json", create_app())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def known(module_database: None) -> Iterator[dict[str, Any]]:
    """A key, and a project with an image that requests are aimed at."""
    from app.queue import current
    from app.queue.inline import InlineQueue

    before = current.use(InlineQueue())
    owner = factories.make_user()
    ids = {"project_id": factories.make_project(owner).id, "image_id": 1, "class_id": 1, "version": 1}
    yield {"key": factories.make_key(owner), "ids": ids}
    current.use(before)


@schema.parametrize()
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: Any, known: dict[str, Any]) -> None:
    aimed = {name: value for name, value in known["ids"].items() if name in (case.path_parameters or {})}
    if case.operation.method.upper() != "DELETE":  # what others are aimed at stays
        case.path_parameters = {**(case.path_parameters or {}), **aimed}
    answer = case.call(headers={"apikey": known["key"]})
    case.validate_response(answer, checks=CHECKS)
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.headers["content-type"][0] == "application/problem+json"
        assert {"type", "title", "status", "detail", "message"} <= problem.keys()
        assert problem["status"] == answer.status_code
