"""The list of projects and their settings, for people."""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
