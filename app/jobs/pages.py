"""The Train screen and the cards of jobs."""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
