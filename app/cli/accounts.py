"""People and keys from the command line, for whoever has the machine: it acts as the first active owner."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.accounts import service as account_service
from app.accounts.permissions import Actor, Role
from app.core.errors import AppError
from app.db.session import transaction
from app.db.tables import User


def create_key(*, name: str, role: str | None, email: str | None) -> str:
    """Return a new API key that acts for the person with `email`, or for the first owner."""
    with _session() as session:
        actor = _actor(_get_user(session, email)) if email else owner_actor(session)
        _, key = account_service.create_key(session, actor=actor, name=name, role=_role(role) if role else None)
        return key


def add_user(*, email: str, name: str, role: str) -> str:
    """Create an account; return its generated password."""
    with _session() as session:
        _, password = account_service.add_person(
            session, actor=owner_actor(session), email=email, name=name, role=_role(role)
        )
        return password


def reset_password(*, email: str) -> str:
    """Give an account a new generated password; return it."""
    with _session() as session:
        return account_service.set_generated_password(session, _get_user(session, email))


@contextmanager
def _session() -> Iterator[Session]:
    """Give a session that commits; what a person can mend ends the command with a sentence instead of a traceback."""
    try:
        with transaction() as session:
            yield session
    except AppError as error:
        details = [item["detail"] for item in getattr(error, "errors", [])]
        raise SystemExit(" ".join(details) or error.detail) from None
    except (OperationalError, ProgrammingError) as error:
        raise SystemExit(
            f"The database cannot be used yet. Run `./kizu up` or `./kizu migrate` first. ({error.orig})"
        ) from None


def owner_actor(session: Session) -> Actor:
    """Return the first active owner as the one who acts.

    Raises:
        SystemExit: There is none yet.
    """
    owner = session.scalar(select(User).where(User.role == Role.OWNER, User.is_active).order_by(User.id).limit(1))
    if owner is None:
        raise SystemExit("There is no administrator yet. Run `./kizu up` or `./kizu migrate` first.")
    return _actor(owner)


def _get_user(session: Session, email: str) -> User:
    user = session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise SystemExit(f"There is no account with the e-mail {email}.")
    return user


def _actor(user: User) -> Actor:
    return Actor(user_id=user.id, name=user.name, email=user.email, role=Role(user.role))


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise SystemExit(f"There is no role {name}; the roles are {', '.join(Role)}.") from None
