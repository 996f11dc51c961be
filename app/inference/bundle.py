"""Reading a bundle from disk, trusting nothing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.contracts.bundle import MANIFEST_NAME, MODEL_NAME, BundleManifest
from app.core.errors import Invalid

READABLE_FORMAT_VERSION = 1


class BundleInvalid(Invalid):
    """The folder is no bundle, or its model file is not the one of its manifest."""

    code, title = "bundle_invalid", "Not a usable model"


class BundleTooNew(BundleInvalid):
    """Written by a newer Kizu."""

    code, title = "bundle_too_new", "Made by a newer version"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose model file was found to be the one of its manifest."""

    directory: Path
    manifest: BundleManifest

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL_NAME


def read_bundle(directory: Path) -> Bundle:
    """Read a bundle and check its model file against the manifest's SHA-256.

    Raises:
        BundleInvalid: A file is missing, broken or changed.
        BundleTooNew: The format version is newer than this program reads.
    """
    try:
        manifest = BundleManifest.model_validate_json((directory / MANIFEST_NAME).read_bytes())
        with (directory / MODEL_NAME).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValidationError) as error:
        raise BundleInvalid("The model's files are missing or damaged.") from error
    if manifest.format_version > READABLE_FORMAT_VERSION:
        raise BundleTooNew("This model was made by a newer version of Kizu. Update this installation to use it.")
    if digest != manifest.model_sha256:
        raise BundleInvalid("The model's file is not the one that its manifest describes.")
    return Bundle(directory, manifest)
