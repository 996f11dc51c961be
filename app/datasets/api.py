"""REST: automatic splits and dataset snapshots."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["datasets"])
