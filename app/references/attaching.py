"""The references of a project laid beside its images: for its pages, and for a dataset that is frozen."""

from sqlalchemy.orm import Session

from app.contracts.reference import ReferenceImage
from app.db.tables import Project
from app.references import queries, rules
from app.references.pairing import Pairing, pair, references_of


def find_pairing(session: Session, project: Project) -> Pairing | None:
    """Return how the project's images go with its references; None where they are not compared.

    The caller has checked that the project may be seen.
    """
    rule = rules.of(project)
    if rule is None:
        return None
    marked = queries.list_marked(session, project.id, rule)
    return pair(rule, marked, queries.list_subjects(session, project.id, rule))


def attach(session: Session, project: Project, names: dict[int, str]) -> dict[int, ReferenceImage] | None:
    """Return what each of these images is compared with, where there is something; None: images are not compared.

    The caller has checked the permission, and with `find_pairing` that nothing is missing.
    """
    rule = rules.of(project)
    if rule is None:
        return None
    pairing = references_of(rule, queries.list_marked(session, project.id, rule))
    by_field = rule.kind == "metadata" and rule.field_id is not None
    values = queries.values_of(session, project.id, rule.field_id or 0) if by_field else {}
    found = ((image_id, pairing.find(name, values.get(image_id))) for image_id, name in names.items())
    return {image_id: reference for image_id, reference in found if reference is not None}
