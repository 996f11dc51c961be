"""The Deploy and Monitor screens, Try and history."""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
