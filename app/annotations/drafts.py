"""What a model found on an image, offered as drafts of labels. Nothing here writes."""

from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from app.annotations.prompting import masks as mask_service
from app.contracts.bundle import BundleManifest
from app.contracts.predictions import PredictedShape
from app.db.tables import ModelVersion, Prediction

MOST = 500


def load_drafts(session: Session, *, project_id: int, image_id: int) -> dict[str, Any]:
    """Return the shapes that the newest model with a prediction of this image found, the best first, as JSON.

    Masks that were made of strokes since count instead. Each has the members of a saved shape and its `score`;
    `threshold` is the model's own. At most `MOST` are given. The caller has checked that the project may be seen; an
    image of another project has no prediction by a model of this.
    """
    found = session.execute(
        select(ModelVersion.manifest, ModelVersion.threshold, Prediction.shapes, ModelVersion.created_at)
        .join(Prediction, and_(Prediction.model_id == ModelVersion.id, Prediction.image_id == image_id))
        .where(ModelVersion.project_id == project_id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
        .limit(1)
    ).first()
    prompted = mask_service.load_drafts(session, project_id=project_id, image_id=image_id)
    if prompted is not None and (found is None or prompted.made_at > found.created_at):
        return {"threshold": 0.0, "shapes": prompted.masks[:MOST]}
    if found is None:
        return {"threshold": None, "shapes": []}
    classes = BundleManifest.model_validate(found.manifest).categories
    shapes = [PredictedShape.model_validate(one) for one in (found.shapes or [])[:MOST]]
    return {
        "threshold": found.threshold,
        "shapes": [
            {
                "category_id": classes[shape.category_index].id,
                "score": shape.score,
                **({"mask": shape.mask.model_dump()} if shape.mask else {"box": shape.box.model_dump()}),
            }
            for shape in shapes
        ],
    }
