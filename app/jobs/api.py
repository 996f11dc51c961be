"""REST: training and its status."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects/{project_id}/train", tags=["jobs"])
