"""A model's files are believed in nothing: digest, version, and no way to another file."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.contracts.bundle import MANIFEST_NAME, MODEL_NAME
from app.core.errors import AppError
from app.inference.bundle import BundleInvalid, BundleTooNew, read_bundle
from tests.api.test_other_projects import MANIFEST


def write(folder: Path, model: bytes, **changed: Any) -> Path:
    content = MANIFEST.model_dump(mode="json") | {"model_sha256": hashlib.sha256(model).hexdigest()} | changed
    (folder / MODEL_NAME).write_bytes(model)
    (folder / MANIFEST_NAME).write_text(json.dumps(content))
    return folder


def graph(location: str | None) -> bytes:
    """Return a small ONNX file; with `location`, its weights lie in that file."""
    weights = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    if location is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [weights])).SerializeToString()


def test_a_whole_bundle_is_read(tmp_path: Path) -> None:
    assert read_bundle(write(tmp_path, graph(None))).manifest.name == MANIFEST.name


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret.bin", "weights.bin"])
def test_a_model_that_names_another_file_is_refused(tmp_path: Path, location: str) -> None:
    """CVE-2022-25882, CVE-2024-27318: `external_data` reads what it names. Beside the model is no better."""
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    with pytest.raises(BundleInvalid, match="another file"):
        read_bundle(write(tmp_path, graph(location)))


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, graph(None))
    (tmp_path / MODEL_NAME).write_bytes(graph(None) + b"\0")
    with pytest.raises(BundleInvalid, match="not the one"):
        read_bundle(tmp_path)


def test_a_manifest_of_a_newer_format_is_called_newer_even_where_it_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BundleTooNew):
        read_bundle(write(tmp_path, graph(None), format_version=2))
    with pytest.raises(BundleTooNew):
        read_bundle(write(tmp_path, graph(None), format_version=2, task="a-task-of-tomorrow", decision=[]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / MANIFEST_NAME).write_bytes(b"{"),
        lambda folder: (folder / MANIFEST_NAME).write_bytes(b"[" * 100_000),
        lambda folder: (folder / MANIFEST_NAME).write_bytes(b"\xff"),
        lambda folder: (folder / MANIFEST_NAME).write_bytes(b"null"),
        lambda folder: (folder / MANIFEST_NAME).unlink(),
        lambda folder: (folder / MODEL_NAME).write_bytes(b""),
        lambda folder: (folder / MODEL_NAME).unlink(),
    ],
    ids=["cut", "deep", "no text", "null", "no manifest", "empty model", "no model"],
)
def test_damaged_files_are_said_in_words(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(write(tmp_path, graph(None)))
    with pytest.raises(AppError, match="missing or damaged"):
        read_bundle(tmp_path)


def test_the_graph_made_here_is_a_real_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(graph(None)))
