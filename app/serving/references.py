"""What a call's picture is compared with: a picture that came with it, or one of those in the model's bundle."""

from collections.abc import Mapping

from app.contracts.bundle import BundleManifest
from app.contracts.reference import ONLY_KEY, BundledReferences, value_key
from app.core.words import named
from app.inference import Compared, Picture
from app.inference.loaded import ReferenceMissing

PART = "reference"
"""Of a call: the multipart part that holds a picture, and the member of `metadata` that names one of the model's."""

IMAGE_ID = "image_id"


def compared(
    manifest: BundleManifest,
    picture: bytes,
    *,
    reference: bytes | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Picture:
    """Return a call's picture together with its reference, where the model compares; else the picture alone.

    Args:
        manifest: Of the model.
        picture: As it came.
        reference: A picture that came with it; it goes before anything that the bundle holds.
        metadata: Of the call. `reference` names one of the bundle's; else, by the rule, `image_id` does, whose name is
            as that of the pictures the model learned from, or the member that is named like the metadata field.

    Raises:
        ReferenceMissing: Nothing says what to compare it with, or the bundle does not have what is named.
    """
    bundled = manifest.reference
    if bundled is None:
        return picture
    if reference is not None:
        return Compared(picture, reference)
    key = _key_of(bundled, metadata or {})
    if key in bundled.pictures:
        return Compared(picture, key=key)
    raise _missing(bundled, key)


def needs_reference(manifest: BundleManifest) -> bool:
    """Tell whether a call must say what its picture is compared with."""
    return manifest.reference is not None and ONLY_KEY not in manifest.reference.pictures


def reference_options(manifest: BundleManifest) -> list[tuple[str, str]] | None:
    """Return the references that a person may choose from, as options of a list; None where nothing is to be chosen."""
    if manifest.reference is None or not needs_reference(manifest):
        return None
    keys = sorted(manifest.reference.pictures)
    return [("", "None of these"), *((key, key) for key in keys)] if keys else []


def _key_of(bundled: BundledReferences, metadata: Mapping[str, object]) -> str | None:
    rule = bundled.rule
    if rule.kind == "one":
        return ONLY_KEY
    given = metadata.get(PART)
    if isinstance(given, str) and rule.kind == "name":
        return rule.key_of_reference(given) or rule.key_of_image(given) or value_key(given)
    if given is not None:
        return value_key(given)
    if rule.kind == "metadata":
        return value_key(metadata.get(rule.field))
    name = metadata.get(IMAGE_ID)
    return rule.key_of_image(name) if isinstance(name, str) else None


def _missing(bundled: BundledReferences, key: str | None) -> ReferenceMissing:
    rule = bundled.rule
    sent = f"Send its reference image as the part `{PART}`"
    if not bundled.pictures:
        detail = f"This model compares each picture with its reference image. {sent}."
    elif key is not None:
        detail = f"The model has no reference image “{key}”; it has {named(sorted(bundled.pictures))}. {sent} instead."
    else:
        member = f"`{rule.field}`" if rule.kind == "metadata" else f"`{IMAGE_ID}`"
        detail = (
            f"This model compares each picture with its reference image. {sent}, or name it in `metadata`, by {member} "
            f"or `{PART}`."
        )
    return ReferenceMissing(detail, [{"pointer": f"/{PART}", "detail": detail, "code": "reference_missing"}])
