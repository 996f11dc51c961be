"""What REST says and takes of references."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.contracts.reference import ReferenceRule
from app.references.pairing import Marked, Pairing


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RuleIn(_Wire):
    """Which reference an image is compared with; `none` compares no images."""

    kind: Literal["none", "one", "name", "metadata"]
    image_ending: str = Field(default="", max_length=100, description="`name`: how names of images end, as `_test`")
    reference_ending: str = Field(default="", max_length=100, description="`name`: how those of references end")
    field_id: int | None = Field(default=None, ge=1, le=2**31 - 1, description="`metadata`: the field that both share")

    def rule(self) -> ReferenceRule | None:
        if self.kind == "none":
            return None
        return ReferenceRule(
            kind=self.kind,
            image_ending=self.image_ending,
            reference_ending=self.reference_ending,
            field_id=self.field_id,
        )


class MarkIn(_Wire):
    media_ids: list[int] = Field(min_length=1, max_length=10_000)


def pairing_out(marked: list[Marked], pairing: Pairing | None) -> dict[str, Any]:
    """Return the rule of a project, its references, and how its images go with them."""
    rule = pairing.rule if pairing else None
    keys = {one.id: key for key, one in pairing.by_key.items()} if pairing else {}
    return {
        "rule": RuleIn(
            kind=rule.kind if rule else "none",
            image_ending=rule.image_ending if rule else "",
            reference_ending=rule.reference_ending if rule else "",
            field_id=rule.field_id if rule else None,
        ).model_dump(by_alias=True),
        "references": [{"id": one.id, "name": one.name, "key": keys.get(one.id)} for one in marked],
        "images": pairing.n_images if pairing else None,
        "paired": pairing.n_paired if pairing else None,
        "problem": pairing.problem() if pairing else None,
    }
