"""People, their sign-ins and their keys."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.permissions import RANK, Action, Actor, Role, lower_role
from app.core.clock import utc_now
from app.core.errors import Invalid, NameTaken, NotAuthenticated, NotFound, PermissionDenied, RateLimited
from app.core.ids import API_KEY_PREFIX, new_api_key, new_session_token, secret_hash
from app.core.passwords import MIN_PASSWORD_LENGTH, generate_password, hash_password, is_password, needs_rehash
from app.db.session import new_session
from app.db.tables import ApiKey, AuditEvent, LoginAttempt, User, UserSession
from app.settings import get_settings

LOGIN_WINDOW = timedelta(minutes=15)
MAX_FAILURES_PER_EMAIL = 8
MAX_FAILURES_PER_ADDRESS = 40
_LAST_USED_GRAIN = timedelta(minutes=1)
_RENEWAL_GRAIN = timedelta(hours=1)


# --- sign-in ---------------------------------------------------------------------------------------------------------


def sign_in(session: Session, *, email: str, password: str, address: str) -> str:
    """Check a password and open a session; return the token for the cookie.

    A failure is recorded, so the caller commits in both cases.

    Raises:
        RateLimited: Too many failures for this email or from this address within a quarter of an hour.
        NotAuthenticated: Wrong email or password, or a deactivated account; the answer does not tell which.
    """
    email = _normal_email(email)
    # Argon2 is slow by design: it runs in a session of its own, for this one holds SQLite's write lock once it is used.
    with new_session() as reading:
        _check_login_rate(reading, email, address)
        password_hash = reading.scalar(select(User.password_hash).where(User.email == email))
        is_right = is_password(password, password_hash)
    session.execute(delete(LoginAttempt).where(LoginAttempt.at < utc_now() - LOGIN_WINDOW))
    user = session.scalar(select(User).where(User.email == email))
    if not is_right or user is None or not user.is_active:
        session.add(LoginAttempt(email=email, address=address))
        raise NotAuthenticated("Email or password is not right.")
    if needs_rehash(user.password_hash):
        user.password_hash = hash_password(password)
    session.execute(delete(LoginAttempt).where(LoginAttempt.email == email))
    user.last_seen_at = utc_now()
    record(session, user_id=user.id, action="account.sign_in", subject=user.email)
    return open_session(session, user)


def open_session(session: Session, user: User) -> str:
    """Sign in somebody whose identity is known; return the token for the cookie."""
    token = new_session_token()
    expires_at = utc_now() + timedelta(days=get_settings().session_days)
    session.add(UserSession(token_hash=secret_hash(token), user_id=user.id, expires_at=expires_at))
    session.execute(delete(UserSession).where(UserSession.expires_at < utc_now()))
    return token


def _check_login_rate(session: Session, email: str, address: str) -> None:
    since = utc_now() - LOGIN_WINDOW
    failures = select(func.count()).select_from(LoginAttempt).where(LoginAttempt.at >= since)
    by_email = session.scalar(failures.where(LoginAttempt.email == email)) or 0
    by_address = session.scalar(failures.where(LoginAttempt.address == address)) or 0
    if by_email >= MAX_FAILURES_PER_EMAIL or by_address >= MAX_FAILURES_PER_ADDRESS:
        raise RateLimited(
            "Too many failed sign-ins. Wait a quarter of an hour, or ask an administrator for a new password.",
            retry_after_s=int(LOGIN_WINDOW.total_seconds()),
        )


def sign_out(session: Session, *, token: str) -> None:
    session.execute(delete(UserSession).where(UserSession.token_hash == secret_hash(token)))


def find_session(session: Session, token: str) -> UserSession | None:
    """Return the sign-in of a cookie, or None where it is unknown, expired or of a deactivated person."""
    row = session.get(UserSession, secret_hash(token))
    if row is None or row.expires_at < utc_now() or not row.user.is_active:
        return None
    return row


def is_renewal_due(row: UserSession) -> bool:
    """Tell whether a sign-in in use should last longer; true at most once an hour, for it costs a write."""
    return row.expires_at - utc_now() < timedelta(days=get_settings().session_days) - _RENEWAL_GRAIN


def renew_session(session: Session, row: UserSession) -> None:
    """Let a sign-in last its whole time again, counted from now, and note that its person was seen."""
    now = utc_now()
    expires_at = now + timedelta(days=get_settings().session_days)
    session.execute(update(UserSession).where(UserSession.token_hash == row.token_hash).values(expires_at=expires_at))
    session.execute(update(User).where(User.id == row.user_id).values(last_seen_at=now))


def find_actor_by_key(session: Session, key: str) -> tuple[Actor, ApiKey] | None:
    """Return who an API key acts for, or None where it is unknown, revoked, expired or of a deactivated person.

    The look-up is by the hash of the whole key, so its time tells nothing of the key's characters.
    """
    if not key.startswith(API_KEY_PREFIX) or len(key) > 200:
        return None
    row = session.scalar(select(ApiKey).where(ApiKey.key_hash == secret_hash(key)))
    now = utc_now()
    if row is None or row.revoked_at or (row.expires_at and row.expires_at < now) or not row.user.is_active:
        return None
    role = lower_role(Role(row.role), Role(row.user.role))
    actor = Actor(
        user_id=row.user_id,
        name=row.user.name,
        email=row.user.email,
        role=role,
        key_id=row.id,
        deployment_id=row.deployment_id,
    )
    return actor, row


def is_last_used_stale(row: ApiKey) -> bool:
    """Tell whether `last_used_at` is old enough to be worth a write."""
    return row.last_used_at is None or utc_now() - row.last_used_at > _LAST_USED_GRAIN


# --- people ----------------------------------------------------------------------------------------------------------


def ensure_owner(session: Session) -> str | None:
    """Create the first owner where there is nobody yet; return the password when it was generated here."""
    if session.scalar(select(func.count()).select_from(User)):
        return None
    settings = get_settings()
    given = settings.admin_password.get_secret_value() if settings.admin_password else None
    password = given or generate_password()
    _check_password(password)
    email = _normal_email(settings.admin_email)
    session.add(User(email=email, name="Administrator", role=Role.OWNER, password_hash=hash_password(password)))
    return None if given else password


def list_people(session: Session, *, actor: Actor) -> list[User]:
    """Return everybody, by name. Raises `PermissionDenied` unless the actor manages people."""
    actor.require(Action.MANAGE_PEOPLE)
    return list(session.scalars(select(User).order_by(User.is_active.desc(), User.name, User.id)))


def add_person(session: Session, *, actor: Actor, email: str, name: str, role: Role) -> tuple[User, str]:
    """Create an account with a generated password, which is returned once.

    Raises:
        PermissionDenied: The actor does not manage people, or would give more than their own role.
        Invalid: The email or the name is not acceptable.
        NameTaken: There is an account with this email.
    """
    actor.require(Action.MANAGE_PEOPLE)
    _check_may_give(actor, role)
    password = generate_password()
    user = User(
        email=_normal_email(email),
        name=_person_name(name),
        role=role,
        password_hash=hash_password(password),
        must_change_password=True,
    )
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:
        raise NameTaken("There is an account with this email already.") from error
    record(session, user_id=actor.user_id, action="account.add", subject=user.email, role=role.value)
    return user, password


def change_person(
    session: Session, *, actor: Actor, user_id: int, role: Role | None = None, is_active: bool | None = None
) -> User:
    """Change a role, or switch an account off or on; switching off ends its sign-ins.

    Raises:
        NotFound: No such account.
        PermissionDenied: The actor does not manage people, ranks below either role, or would change their own.
        Invalid: It would leave the organisation without an active owner.
    """
    actor.require(Action.MANAGE_PEOPLE)
    user = _get_user(session, user_id)
    if user.id == actor.user_id:
        raise PermissionDenied("Nobody changes their own role. Ask another owner.")
    _check_may_give(actor, Role(user.role))
    if role is not None:
        _check_may_give(actor, role)
        user.role = role
    if is_active is not None:
        user.is_active = is_active
        if not is_active:
            session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    session.flush()
    owners = select(func.count()).select_from(User).where(User.role == Role.OWNER, User.is_active)
    if not session.scalar(owners):
        raise Invalid("There must be at least one active owner.")
    record(session, user_id=actor.user_id, action="account.change", subject=user.email, role=user.role)
    return user


def reset_password(session: Session, *, actor: Actor, user_id: int) -> tuple[User, str]:
    """Give an account a new generated password, returned once, and end its sign-ins. Raises as `change_person` does."""
    actor.require(Action.MANAGE_PEOPLE)
    user = _get_user(session, user_id)
    _check_may_give(actor, Role(user.role))
    return user, set_generated_password(session, user)


def set_generated_password(session: Session, user: User) -> str:
    """Give `user` a new generated password and end their sign-ins; asks no leave (the command line uses it)."""
    password = generate_password()
    user.password_hash = hash_password(password)
    user.must_change_password = True
    session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    session.execute(delete(LoginAttempt).where(LoginAttempt.email == user.email))
    record(session, user_id=None, action="account.reset_password", subject=user.email)
    return password


def change_own_password(session: Session, *, actor: Actor, current: str, new: str) -> str:
    """Replace the actor's password, end all sign-ins and open a new one; return its token.

    Raises:
        PermissionDenied: The actor is a key.
        Invalid: The current password is wrong, or the new one is too short.
    """
    if actor.key_id is not None:
        raise PermissionDenied("A key cannot change a password.")
    user = _get_user(session, actor.user_id)
    if not is_password(current, user.password_hash):
        raise Invalid("Please check the input.", [_error("/current", "This is not your current password.", "wrong")])
    _check_password(new)
    user.password_hash = hash_password(new)
    user.must_change_password = False
    session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    record(session, user_id=user.id, action="account.change_password", subject=user.email)
    return open_session(session, user)


# --- API keys --------------------------------------------------------------------------------------------------------


def create_key(
    session: Session,
    *,
    actor: Actor,
    name: str,
    role: Role | None = None,
    deployment_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create an API key; return its row and the key itself, which is stored nowhere.

    Raises:
        PermissionDenied: The actor may not make keys, is a key, or asks for more than their own role.
        Invalid: The name is empty or too long, or the expiry lies in the past.
    """
    actor.require(Action.OWN_KEYS)
    if actor.key_id is not None:
        raise PermissionDenied("A key cannot make keys. Sign in and make it under Settings.")
    role = role or actor.role
    _check_may_give(actor, role)
    if expires_at is not None and expires_at <= utc_now():
        raise Invalid("Please check the input.", [_error("/expires_at", "This moment has passed.", "past")])
    key = new_api_key()
    row = ApiKey(
        name=_required_text(name, "/name", "Give the key a name.", 200),
        key_hash=secret_hash(key),
        last_four=key[-4:],
        role=role,
        deployment_id=deployment_id,
        user_id=actor.user_id,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    record(session, user_id=actor.user_id, action="key.create", subject=row.name, key_id=str(row.id))
    return row, key


def list_keys(session: Session, *, actor: Actor) -> list[ApiKey]:
    """Return the actor's keys that are not revoked, newest first; everybody's for who manages keys."""
    actor.require(Action.OWN_KEYS)
    query = select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.created_at.desc())
    if not actor.may(Action.MANAGE_KEYS):
        query = query.where(ApiKey.user_id == actor.user_id)
    return list(session.scalars(query))


def revoke_key(session: Session, *, actor: Actor, key_id: UUID) -> ApiKey:
    """End a key at once. Raises `NotFound` for a key that the actor does not see."""
    actor.require(Action.OWN_KEYS)
    row = session.get(ApiKey, key_id)
    if row is None or (row.user_id != actor.user_id and not actor.may(Action.MANAGE_KEYS)):
        raise NotFound("There is no such key.")
    row.revoked_at = row.revoked_at or utc_now()
    record(session, user_id=actor.user_id, action="key.revoke", subject=row.name, key_id=str(row.id))
    return row


# --- the record ------------------------------------------------------------------------------------------------------


def record(session: Session, *, user_id: int | None, action: str, subject: str, **data: str | int | float) -> None:
    """Add a line to the audit log. `data` holds no secret."""
    session.add(AuditEvent(user_id=user_id, action=action, subject=subject[:200], data=data))


# --- details ---------------------------------------------------------------------------------------------------------


def actor_of(user: User) -> Actor:
    """Return a person as somebody who acts."""
    return Actor(
        user_id=user.id,
        name=user.name,
        email=user.email,
        role=Role(user.role),
        must_change_password=user.must_change_password,
    )


def _get_user(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such account.")
    return user


def _check_may_give(actor: Actor, role: Role) -> None:
    if RANK[role] > RANK[actor.role]:
        raise PermissionDenied(f"Only an {Role.OWNER} can do this with the role {role}.")


def _check_password(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH:
        message = f"Use at least {MIN_PASSWORD_LENGTH} characters."
        raise Invalid("Please check the input.", [_error("/new", message, "too_short")])


def _normal_email(email: str) -> str:
    email = email.strip().lower()
    local, at, domain = email.partition("@")
    if not (local and at and domain) or len(email) > 254 or any(c.isspace() for c in email):
        raise Invalid("Please check the input.", [_error("/email", "This is not an email address.", "email")])
    return email


def _person_name(name: str) -> str:
    return _required_text(name, "/name", "Give the person's name.", 200)


def _required_text(text: str, pointer: str, message: str, longest: int) -> str:
    text = " ".join(text.split())
    if not text or len(text) > longest:
        raise Invalid("Please check the input.", [_error(pointer, message, "required")])
    return text


def _error(pointer: str, detail: str, code: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail, "code": code}
