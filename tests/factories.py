"""Plain functions that make persisted rows, through the real services wherever there is one."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture

from app.accounts import service as account_service
from app.accounts.permissions import Actor, Role
from app.contracts.tasks import TaskType
from app.core.passwords import hash_password
from app.db.session import transaction
from app.db.tables import Project, User
from app.projects import service as project_service

PASSWORD = "a long test password"
_PASSWORD_HASH = hash_password(PASSWORD)  # Argon2 is slow by design: once is enough


def make_user(role: Role = Role.OWNER, email: str | None = None) -> Actor:
    """Create a person with `PASSWORD`; return them as an actor."""
    email = email or f"{role}@example.com"
    with transaction() as session:
        user = User(email=email, name=f"The {role}", role=role, password_hash=_PASSWORD_HASH)
        session.add(user)
        session.flush()
        return Actor(user_id=user.id, name=user.name, email=user.email, role=role)


def make_session(actor: Actor) -> str:
    """Sign `actor` in as a password would, without the time that checking one takes; return the cookie's value."""
    with transaction() as session:
        return account_service.open_session(session, session.get_one(User, actor.user_id))


def make_key(actor: Actor, name: str = "test", **kwargs: object) -> str:
    """Create an API key for `actor`; return the key itself."""
    with transaction() as session:
        return account_service.create_key(session, actor=actor, name=name, **kwargs)[1]


def make_project(
    actor: Actor,
    name: str = "Housings",
    categories: Sequence[str] = ("good", "scratch"),
    task: TaskType = TaskType.CLASSIFICATION,
) -> Project:
    """Create a project with these classes."""
    with transaction() as session:
        # Not by the service: what it lets people create is another test's subject.
        project = Project(name=name, task=task, created_by_id=actor.user_id)
        session.add(project)
        session.flush()
        for category in categories:
            project_service.add_category(session, project=project, name=category)
    return project


def picture_bytes(
    seed: int = 0, *, size: tuple[int, int] = (48, 32), mode: str = "RGB", file_format: str = "PNG", **options: object
) -> bytes:
    """Return an encoded picture of random pixels, different for each seed."""
    width, height = size
    shape = (height, width) if mode in {"L", "I;16"} else (height, width, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    picture = (
        Picture.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else Picture.fromarray(pixels, mode=None)
    )
    out = io.BytesIO()
    picture.save(out, format=file_format, **options)
    return out.getvalue()
