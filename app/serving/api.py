"""REST: deployments."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects/{project_id}/deployments", tags=["serving"])
