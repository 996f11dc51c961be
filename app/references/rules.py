"""The rule of a project, as its row keeps it."""

from app.contracts.reference import ReferenceRule
from app.db.tables import Project


def of(project: Project) -> ReferenceRule | None:
    """Return the rule that says which image is compared with which reference; None: images are not compared."""
    return None if project.reference_rule is None else ReferenceRule.model_validate(project.reference_rule)
