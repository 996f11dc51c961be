"""Thumbnails, off the request that brought the images."""

from worker.celery_app import celery


@celery.task(name="images.thumbnails", queue="cpu", ignore_result=True)
def make_thumbnails(project_id: str) -> None:
    """Make every thumbnail that the project lacks. Safe to deliver twice, and to lose: looking at an image makes it."""
    from app.images import thumbnails  # an idle worker loads neither numpy nor Pillow

    thumbnails.make_missing(int(project_id))
