"""REST: images with label, split, tags and metadata."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/projects/{project_id}/images", tags=["images"])
