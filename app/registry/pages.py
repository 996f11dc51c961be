"""The Models screens: list, report, comparison."""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
