"""Who may do what. Everything that is not named here is denied."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.core.errors import PermissionDenied


class Role(StrEnum):
    """Roles of the one organisation, from most to least."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    LABELER = "labeler"
    VIEWER = "viewer"


class Action(StrEnum):
    """What a route or a service asks leave for."""

    VIEW = "view"
    LABEL = "label"
    UPLOAD = "upload"
    EDIT = "edit"  # classes, tags, metadata fields, splits
    DELETE = "delete"  # images, models
    TRAIN = "train"
    DEPLOY = "deploy"
    PREDICT = "predict"
    CREATE_PROJECT = "create_project"
    DELETE_PROJECT = "delete_project"
    OWN_KEYS = "own_keys"  # make and revoke one's own API keys
    MANAGE_PEOPLE = "manage_people"
    MANAGE_KEYS = "manage_keys"  # see and revoke everybody's API keys


# Everybody may have keys: a key grants no more than its maker may do.
_VIEWER = frozenset({Action.VIEW, Action.PREDICT, Action.OWN_KEYS})
_LABELER = _VIEWER | {Action.LABEL, Action.UPLOAD}
_MEMBER = _LABELER | {
    Action.EDIT,
    Action.DELETE,
    Action.TRAIN,
    Action.DEPLOY,
    Action.CREATE_PROJECT,
}
_ADMIN = _MEMBER | {Action.DELETE_PROJECT, Action.MANAGE_PEOPLE, Action.MANAGE_KEYS}

GRANTS: dict[Role, frozenset[Action]] = {
    Role.OWNER: _ADMIN,
    Role.ADMIN: _ADMIN,
    Role.MEMBER: _MEMBER,
    Role.LABELER: _LABELER,
    Role.VIEWER: _VIEWER,
}
RANK: dict[Role, int] = {role: rank for rank, role in enumerate(reversed(Role))}


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever acts: a signed-in person, or a key that acts for one with at most `role`."""

    user_id: int
    name: str
    email: str
    role: Role
    key_id: UUID | None = None
    deployment_id: UUID | None = None
    must_change_password: bool = False

    def may(self, action: Action) -> bool:
        if self.deployment_id is not None:
            return action is Action.PREDICT
        return action in GRANTS[self.role]

    def require(self, action: Action) -> None:
        """Raise `PermissionDenied` unless the role grants `action`."""
        if not self.may(action):
            what = "This key" if self.key_id else f"Your role ({self.role})"
            raise PermissionDenied(f"{what} does not allow this. Ask an administrator.", action=action.value)


def lower_role(first: Role, second: Role) -> Role:
    """Return the role that grants less."""
    return min(first, second, key=RANK.__getitem__)
