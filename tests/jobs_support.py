"""Small labelled projects and jobs, for the tests of trainings."""

import hashlib
import io
from collections.abc import Mapping
from uuid import UUID

import numpy as np
from PIL import Image as Picture
from sqlalchemy import select, update

from app.contracts.jobs import JobKind, JobState
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import Annotation, Category, Image, Job, JobEvent, Project
from app.storage import keys
from app.storage.current import blobs


def part_picture(seed: int, *, has_scratch: bool, size_px: int = 64) -> bytes:
    """Return a PNG of a noisy grey part, with a bright line across it where `has_scratch`."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(110, 12, (size_px, size_px, 3))
    if has_scratch:
        row = int(rng.integers(8, size_px - 12))
        pixels[row : row + 4, 6:-6] += 120
    out = io.BytesIO()
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, format="PNG")
    return out.getvalue()


def add_images(project: Project, labelled: Mapping[str, int], *, unlabelled: int = 0, size_px: int = 64) -> None:
    """Add that many pictures of each class, and some without a class. A class that is not `good` has a scratch."""
    wanted = [(name, number) for name, count in labelled.items() for number in range(count)]
    wanted += [(None, number) for number in range(unlabelled)]
    with transaction() as session:
        known = session.execute(select(Category.name, Category.id).where(Category.project_id == project.id))
        categories: dict[str, int] = dict(list(known))  # type: ignore[arg-type]  # rows are pairs
        for index, (name, _) in enumerate(wanted):
            content = part_picture(index, has_scratch=name not in {"good", None}, size_px=size_px)
            sha256 = hashlib.sha256(content).hexdigest()
            key = keys.original(project.id, sha256)
            blobs().put(key, content)
            image = Image(
                project_id=project.id,
                name=f"part-{index:03}.png",
                sha256=sha256,
                blob_key=key,
                format="PNG",
                mode="RGB",
                width_px=size_px,
                height_px=size_px,
                n_bytes=len(content),
                is_labelled=name is not None,
                category_id=categories.get(name) if name else None,
                labelled_at=utc_now() if name else None,
            )
            session.add(image)
            session.flush()
            if name:
                session.add(Annotation(image_id=image.id, category_id=categories[name], kind="class"))


def make_job(project_id: int, **values: object) -> UUID:
    """Insert a training as it stands right after it was asked for, but for `values`."""
    with transaction() as session:
        job = Job(**{"project_id": project_id, "kind": JobKind.TRAIN, "state": JobState.QUEUED, "spec": {}} | values)
        session.add(job)
        session.flush()
        return job.id


def read_job(job_id: UUID) -> Job:
    with new_session() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def set_job(job_id: UUID, **values: object) -> None:
    with transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def log_lines(job_id: UUID) -> list[str]:
    with new_session() as session:
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == "log").order_by(JobEvent.id)
        return [event.payload["text"] for event in session.scalars(query)]
