"""The only place where blob keys are made. No key holds a name that a person chose."""

from uuid import UUID

from app.core.ids import new_uuid


def original(project_id: int, sha256: str) -> str:
    """Return the key of an uploaded image, byte for byte as it came."""
    return f"projects/{project_id}/originals/{sha256[:2]}/{sha256}"


def thumbnail(project_id: int, sha256: str) -> str:
    return f"projects/{project_id}/thumbs/{sha256[:2]}/{sha256}.webp"


def display(project_id: int, sha256: str) -> str:
    """Return the key of what a browser shows of an image that it cannot read itself (TIFF, 16 bits)."""
    return f"projects/{project_id}/display/{sha256[:2]}/{sha256}.png"


def dataset_items(project_id: int, content_hash: str) -> str:
    return f"projects/{project_id}/datasets/{content_hash}-{new_uuid().hex[:8]}.json.gz"


def bundle(project_id: int, model_id: UUID) -> str:
    """Return the prefix under which the files of a model lie."""
    return f"projects/{project_id}/models/{model_id}"


def heat_map(project_id: int, model_id: UUID, sha256: str) -> str:
    return f"projects/{project_id}/heat/{model_id}/{sha256}.png"


def inference_image(deployment_id: UUID, sha256: str) -> str:
    return f"deployments/{deployment_id}/calls/{sha256[:2]}/{sha256}"
