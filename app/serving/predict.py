"""The prediction route of the wire contract."""

from fastapi import APIRouter

router = APIRouter(prefix="/inference/v1", tags=["serving"])
