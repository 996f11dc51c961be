"""Writing a network that learned by gradient as one ONNX file: from `image` to what its task answers."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from app.contracts.bundle import Preprocessing
from worker.ml.backbones.base import Backbone
from worker.ml.backbones.export import INPUT_NAME, OPSET
from worker.ml.backbones.tail import Tail
from worker.ml.heads.network import Network

SCORES_NAME = "scores"


class Whole(nn.Module):
    """Backbone and head from the normalised image (B, 3, H, W) on. A task says what the head's answers become."""

    names: tuple[str, ...] = (SCORES_NAME,)

    def __init__(self, backbone: Backbone, network: Network) -> None:
        super().__init__()
        network.tail.state_for(backbone)
        self.tail = Tail(backbone, entry=-1, taps=network.tail.taps)
        self.head = network.head

    def forward(self, image: Tensor) -> Any:
        return self.finish(self.head(self.tail([image])))

    def finish(self, answers: Any) -> Any:
        """Return the outputs, in the order of `names`."""
        raise NotImplementedError


class WholeSegmenter(Whole):
    """Scores (B, K + 1, H', W') that sum to 1 at every place."""

    def finish(self, answers: Tensor) -> Tensor:
        return answers.softmax(1)


def export(whole: Whole, preprocessing: Preprocessing, path: Path) -> None:
    """Write the file. The size is that of the preprocessing, the batch size is free."""
    example = torch.zeros(1, 3, preprocessing.height_px, preprocessing.width_px)
    with warnings.catch_warnings(), torch.no_grad():
        # See `worker.ml.backbones.export`: the tracing exporter is quick, and these networks have no branches.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole.eval(),
            (example,),
            str(path),
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=list(whole.names),
            dynamic_axes={name: {0: "B"} for name in (INPUT_NAME, *whole.names)},
            opset_version=OPSET,
        )
    onnx.checker.check_model(onnx.load(path))


def answers_in_torch(whole: Whole, pictures: Sequence[Any], preprocessing: Preprocessing) -> Any:
    """Return what the network says of pictures (H, W, 3) uint8, without the exported file."""
    with torch.inference_mode():
        return whole(normalised(torch.stack([torch.tensor(one) for one in pictures]), preprocessing))


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return pictures (B, H, W, 3) uint8 as the network's input (B, 3, H, W)."""
    mean = torch.tensor(preprocessing.mean) * 255.0
    std = torch.tensor(preprocessing.std) * 255.0
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
