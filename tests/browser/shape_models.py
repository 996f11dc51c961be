"""Puts projects with shapes and models of theirs into an installation that is up: `python -m ... URL KEY`.

A process of its own, since an installation is found by `KIZU_HOME`, which a process reads once. Prints what it made.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from app.accounts.permissions import Actor, Role
from app.db.session import new_session, transaction
from app.db.tables import Image, Prediction, User
from app.queue import current
from app.queue.inline import InlineQueue
from app.references import service as reference_service
from app.serving import service as serving_service
from tests import model_support, serving_support, shape_support


def main(url: str, key: str) -> None:
    current.use(InlineQueue())  # what trains is this process, not the installation's worker
    with new_session() as session:
        user = session.scalars(select(User).order_by(User.id)).first()
        assert user is not None
        actor = Actor(user_id=user.id, name=user.name, email=user.email, role=Role(user.role))
    with httpx.Client(base_url=url, headers={"apikey": key}, timeout=60) as program:
        made = {"boxes": _boxes(actor), "masks": _masks(actor, program)}
        pictures = {
            "boxes": shape_support.pictured("right", 900).content,
            "masks": serving_support.masked_part(901)[0],
        }
        for name, picture in pictures.items():
            for content in (picture, model_support.part_picture(902, size_px=64)):
                program.post(
                    f"/inference/v1/predict?endpoint_id={made[name]['deployment_id']}", files={"file": content}
                ).raise_for_status()
    print(json.dumps(made))


def _boxes(actor: Actor) -> dict[str, Any]:
    """Make a detection project with two models; its images are compared with one that has no label."""
    project = shape_support.make_project(actor, n_each=1)
    with TemporaryDirectory() as folder:
        models = [shape_support.publish_detector(project, actor, Path(folder) / str(n), limit=n / 10) for n in (3, 4)]
    with transaction() as session:
        deployment = serving_service.create_deployment(
            session, actor=actor, project_id=project.id, name="Line 4", model_id=models[0].id
        )
        last_id = session.scalars(
            select(Image.id).where(Image.project_id == project.id).order_by(Image.id.desc()).limit(1)
        ).one()
        reference_service.mark(session, actor=actor, project_id=project.id, selection=[last_id])
    return _named(project.id, [model.id for model in models], deployment.id)


def _masks(actor: Actor, program: httpx.Client) -> dict[str, Any]:
    served = serving_support.serve_masks(actor, program, n_images=18)
    return _named(served.project.id, [served.model.id], served.deployment.id)


def _named(project_id: int, model_ids: list[UUID], deployment_id: UUID) -> dict[str, Any]:
    """Return the ids, and a labelled image on which the first model found something."""
    with new_session() as session:
        rows = session.scalars(
            select(Prediction).where(Prediction.model_id == model_ids[0], Prediction.split == "test")
        )
        image_id = next(row.image_id for row in rows if row.shapes and row.drawn)
    return {
        "project_id": project_id,
        "model_ids": [str(model_id) for model_id in model_ids],
        "deployment_id": str(deployment_id),
        "image_id": image_id,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
