"""The application, made once."""

import pytest
from fastapi import FastAPI


@pytest.fixture(scope="session")
def app() -> FastAPI:
    from app.main import create_app

    return create_app()
