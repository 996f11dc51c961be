"""Clients of both edges: a browser that is signed in as a role, and a program with that role's key."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.accounts.permissions import Actor, Role
from app.db.session import new_session
from app.db.tables import Project
from app.projects import service as project_service
from app.web.deps import SESSION_COOKIE
from tests import factories, serving_support
from tests.serving_support import Served


@pytest.fixture(scope="session")
def app() -> FastAPI:
    from app.main import create_app

    return create_app()


@pytest.fixture
def anonymous(app: FastAPI, database: None, queue: object) -> Iterator[TestClient]:
    """A client that nobody signed in with."""
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.fixture
def owner(database: None) -> Actor:
    return factories.make_user(Role.OWNER)


@pytest.fixture
def people(owner: Actor) -> dict[Role, Actor]:
    """Somebody in each role."""
    others = {role: factories.make_user(role) for role in Role if role is not Role.OWNER}
    return {Role.OWNER: owner, **others}


@pytest.fixture
def browser_as(app: FastAPI, database: None, queue: object) -> Iterator[Callable[[Actor], TestClient]]:
    """Return a function that gives a signed-in browser's client for an actor."""
    opened: list[TestClient] = []

    def open_for(actor: Actor) -> TestClient:
        client = TestClient(app, follow_redirects=False, headers={"Sec-Fetch-Site": "same-origin"})
        # With the domain that the client gives to cookies of answers, so that a new one takes its place.
        client.cookies.set(SESSION_COOKIE, factories.make_session(actor), domain="testserver.local")
        client.__enter__()
        opened.append(client)
        return client

    yield open_for
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def program_as(app: FastAPI, database: None, queue: object) -> Iterator[Callable[[Actor], TestClient]]:
    """Return a function that gives a REST client with a key of an actor."""
    opened: list[TestClient] = []

    def open_for(actor: Actor) -> TestClient:
        key = factories.make_key(actor)
        client = TestClient(app, follow_redirects=False, headers={"apikey": key})
        client.__enter__()
        opened.append(client)
        return client

    yield open_for
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def browser(browser_as: Callable[[Actor], TestClient], owner: Actor) -> TestClient:
    return browser_as(owner)


@pytest.fixture
def program(program_as: Callable[[Actor], TestClient], owner: Actor) -> TestClient:
    return program_as(owner)


@pytest.fixture
def project(owner: Actor) -> Project:
    """A project with the classes good and scratch."""
    return factories.make_project(owner)


@pytest.fixture
def classes(project: Project) -> tuple[int, ...]:
    """The ids of the project's classes, in their order."""
    with new_session() as session:
        return tuple(one.id for one in project_service.list_categories(session, project.id))


@pytest.fixture
def served(owner: Actor, tmp_path: Path) -> Served:
    """An endpoint on a small trained model, and a key for it."""
    return serving_support.serve(owner, tmp_path)
