"""Backbones as ONNX graphs, made once for each (backbone, size) and kept.

Reading a kept graph imports neither torch nor timm: a training that finds its backbones exported starts in the time
it takes to import OpenVINO.
"""

import hashlib
import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.catalog import BackboneCard
from app.catalog.exports import EXPORT_VERSION, graph_path
from worker.ml.backbones.layout import LAST_MAP, FeatureLayout, layout_of, map_names

if TYPE_CHECKING:
    from worker.ml.backbones.base import Backbone

INPUT_NAME = "image"
FEATURES_NAME = "features"
OPSET = 17


@dataclass(frozen=True)
class ExportedBackbone:
    """A backbone's graph: input `image` (B, 3, size, size); outputs `features` (B, D) and the maps of its layout.

    `learned` is the SHA-256 of a graph whose weights learned here, empty where they are those of the card.
    """

    card: BackboneCard
    image_size_px: int
    path: Path
    layout: FeatureLayout
    learned: str = ""

    @property
    def identity(self) -> str:
        """Hash of everything that shapes the features: weights, architecture, size and the way of exporting."""
        facts = (self.card.id, self.card.architecture, self.card.weights_sha256, self.image_size_px, EXPORT_VERSION)
        own = (self.learned,) if self.learned else ()
        return hashlib.sha256(repr((*facts, self.layout, *own)).encode()).hexdigest()


def exported(card: BackboneCard, *, image_size_px: int, cache_dir: Path) -> ExportedBackbone:
    """Return the graph of a backbone, exporting it where that was not done yet.

    Two processes may do it at once: each writes its own file and renames it into place.
    """
    graph = ExportedBackbone(
        card, image_size_px, graph_path(card, image_size_px=image_size_px, cache_dir=cache_dir), layout_of(card)
    )
    if not graph.path.exists():
        _write(graph)
    return graph


def export_learned(backbone: "Backbone", *, image_size_px: int, path: Path) -> ExportedBackbone:
    """Write the graph of a backbone whose weights are no longer those of its card."""
    graph = ExportedBackbone(backbone.card, image_size_px, path, layout_of(backbone.card))
    _write(graph, backbone)
    return replace(graph, learned=hashlib.sha256(path.read_bytes()).hexdigest())


def is_exported(card: BackboneCard, *, image_size_px: int, cache_dir: Path) -> bool:
    """Return whether `exported` would find the graph ready."""
    return graph_path(card, image_size_px=image_size_px, cache_dir=cache_dir).exists()


def _write(graph: ExportedBackbone, backbone: "Backbone | None" = None) -> None:
    graph.path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=graph.path.parent, suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        _export(graph, partial, backbone)
        _free_batch_size(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(graph.path)
    finally:
        partial.unlink(missing_ok=True)


def _export(graph: ExportedBackbone, path: Path, backbone: "Backbone | None") -> None:
    import torch
    from torch import Tensor, nn

    from worker.ml.backbones.sources import load

    class Flat(nn.Module):
        """The same network with its outputs as a tuple, as the exporter wants them."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone or load(graph.card)

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            features = self.backbone(image)
            return features.pooled, *features.maps.values()

    example = torch.zeros(1, 3, graph.image_size_px, graph.image_size_px)
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter takes one second where the newer one takes twelve, and these networks have no branches.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Flat().eval(),
            (example,),
            str(path),
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=[FEATURES_NAME, *map_names(graph.card), LAST_MAP],
            opset_version=OPSET,
        )


def _free_batch_size(path: Path) -> None:
    """Let the first dimension be anything: traced with one image, so that all paddings became constants."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "B"
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)
