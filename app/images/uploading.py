"""One upload request after another, whatever it holds: single pictures, many, or a zip of thousands.

Unlike a service this commits, batch by batch: what is in stays in when the connection ends, and the database is locked
only while rows are written, never while a picture is decoded.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import BinaryIO

from app.accounts.permissions import Action, Actor, Role
from app.core.errors import AppError
from app.db.session import transaction
from app.images.adding import Fate, FileStatus, add_images
from app.images.archives import Archive, is_zip
from app.images.ingest import Incoming, Refused, Taken, take_all
from app.images.labels import Extras
from app.images.naming import clean_name
from app.projects import service as project_service

ROWS_PER_TRANSACTION = 128
ALLOWED_FOR_S = 5.0

_allowed_until: dict[tuple[int, Role, int], float] = {}


@dataclass
class Outcome:
    """What became of each file, in their order, and how many files of archives were passed over, by reason."""

    fates: list[Fate] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    n_archives: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of files by status, the skipped ones among them."""
        by_status = Counter(fate.status.value for fate in self.fates)
        return {**{status.value: by_status[status.value] for status in FileStatus}, "skipped": self.skipped.total()}


def check_may_upload(actor: Actor, project_id: int) -> None:
    """Refuse before anything is read, so that nothing is stored for a project that the actor may not upload to.

    Known for a few seconds: a program that sends thousands of pictures one by one is not asked for each. Rows are
    inserted only after a check of their own.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may not upload.
    """
    key = (actor.user_id, actor.role, project_id)
    now = monotonic()
    if _allowed_until.get(key, 0.0) > now:
        return
    with transaction(writes=False) as session:
        project_service.get_for(session, actor=actor, project_id=project_id, action=Action.UPLOAD)
    if len(_allowed_until) > 1000:
        _allowed_until.clear()
    _allowed_until[key] = now + ALLOWED_FOR_S


def upload(*, actor: Actor, project_id: int, files: Iterable[tuple[str, BinaryIO]], extras: Extras) -> Outcome:
    """Take every file in, each zip file by file; return what became of each.

    Args:
        files: The path or name that the sender gave each file, and the file, at its beginning and seekable.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not upload, or not do what `extras` asks for.
        Invalid: What `extras` asks for is not acceptable.
    """
    check_may_upload(actor, project_id)
    outcome = Outcome()
    done = take_all(_unpacked(files, outcome), project_id=project_id)
    while batch := list(islice(done, ROWS_PER_TRANSACTION)):
        outcome.fates += _add(actor, project_id, batch, extras)
    return outcome


def _add(actor: Actor, project_id: int, batch: list[Taken | Refused], extras: Extras) -> list[Fate]:
    with transaction() as session:
        return add_images(session, actor=actor, project_id=project_id, files=batch, extras=extras)


def _unpacked(files: Iterable[tuple[str, BinaryIO]], outcome: Outcome) -> Iterator[Incoming | Refused]:
    for path, file in files:
        head = file.read(4)
        file.seek(0)
        if not is_zip(head):
            yield Incoming(path, _once(file))
            continue
        outcome.n_archives += 1
        try:
            archive = Archive(file)
        except AppError as error:
            yield Refused(clean_name(path), error.detail)
            continue
        n_before = outcome.skipped.total()
        is_empty = True
        for item in archive.files():
            is_empty = False
            yield item
        outcome.skipped += archive.skipped
        if is_empty:
            skipped = outcome.skipped.total() - n_before
            passed = f" {skipped} files of no use were passed over." if skipped else ""
            yield Refused(clean_name(path), f"There is no picture in this zip.{passed}")


def _once(file: BinaryIO) -> Callable[[], BinaryIO]:
    return lambda: file
