"""The Data screen: grid, filters, bulk actions, upload, picture files."""

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
