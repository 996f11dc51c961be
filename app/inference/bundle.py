"""Reading a bundle from disk, trusting nothing."""

import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.contracts.bundle import MANIFEST_NAME, MODEL_NAME, BundleManifest
from app.contracts.reference import reference_file
from app.core.errors import Invalid

READABLE_FORMAT_VERSION = 1
_DAMAGED = "The model's files are missing or damaged."
# How an ONNX file names another file that holds its weights: the entry `location` of a tensor's external data.
_EXTERNAL_DATA = b"\n\x08location"


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

    def reference_path(self, sha256: str) -> Path:
        """Return the file of a reference image, by its hash in the manifest."""
        return self.directory / reference_file(sha256)


def read_bundle(directory: Path) -> Bundle:
    """Read a bundle and check its model file, and its reference images, against the manifest's SHA-256.

    A model that keeps weights in another file is refused: runtimes follow such a path wherever it leads.

    Raises:
        BundleInvalid: A file is missing, broken or changed, or the model names another file.
        BundleTooNew: The format version is newer than this program reads.
    """
    manifest = read_manifest(directory / MANIFEST_NAME)
    try:
        with (
            (directory / MODEL_NAME).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as model,
        ):
            digest = hashlib.sha256(model).hexdigest()
            names_other_files = model.find(_EXTERNAL_DATA) >= 0
        changed = [name for name in reference_files(manifest) if _digest(directory / name) not in name]
    except (OSError, ValueError) as error:
        raise BundleInvalid(_DAMAGED) from error
    if digest != manifest.model_sha256:
        raise BundleInvalid("The model's file is not the one that its manifest describes.")
    if names_other_files:
        raise BundleInvalid("The model keeps weights in another file. Such models are not opened.")
    if changed:
        raise BundleInvalid("A reference image of the model is not the one that its manifest describes.")
    return Bundle(directory, manifest)


def read_manifest(path: Path) -> BundleManifest:
    """Read a manifest.

    Raises:
        BundleInvalid: It is missing or damaged.
        BundleTooNew: Its format version is newer than this program reads.
    """
    try:
        content = json.loads(path.read_bytes())
        _check_version(content)
        return BundleManifest.model_validate_json(json.dumps(content))
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise BundleInvalid(_DAMAGED) from error


def bundle_files(manifest: BundleManifest) -> list[str]:
    """Return the names of all files of a bundle."""
    return [MANIFEST_NAME, MODEL_NAME, *reference_files(manifest)]


def reference_files(manifest: BundleManifest) -> list[str]:
    """Return the names of the reference images that belong to a bundle; most have none."""
    if manifest.reference is None:
        return []
    return sorted({reference_file(sha256) for sha256 in manifest.reference.pictures.values()})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_version(content: object) -> None:
    """Refuse a newer manifest before its members are read: they may have other meanings."""
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > READABLE_FORMAT_VERSION:
        raise BundleTooNew("This model was made by a newer version of Kizu. Update this installation to use it.")
