"""REST: projects, classes, tags, metadata fields."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects", tags=["projects"])
