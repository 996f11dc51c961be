"""REST: models and their figures."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["registry"])
