"""Writing a trained detector as one ONNX file: `image` to `boxes` (B, A, 4) and `scores` (B, A, K)."""

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from app.contracts.bundle import Preprocessing
from worker.ml.backbones.base import Backbone
from worker.ml.backbones.export import INPUT_NAME, OPSET
from worker.ml.backbones.tail import Tail
from worker.ml.evaluation.score_calibration import ScoreMap
from worker.ml.heads.detection import Detector

BOXES_NAME, SCORES_NAME = "boxes", "scores"


class Whole(nn.Module):
    """Backbone and head from the normalised image (B, 3, H, W) on, with readable scores instead of logits."""

    def __init__(self, backbone: Backbone, detector: Detector, score_map: ScoreMap) -> None:
        super().__init__()
        self.score_map = score_map
        detector.tail.state_for(backbone)
        self.tail = Tail(backbone, entry=-1, taps=detector.tail.taps)
        self.head = detector.head

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        answers = self.head(self.tail([image]))
        return answers.boxes, (self.score_map.slope * answers.logits + self.score_map.shift).sigmoid()


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
            output_names=[BOXES_NAME, SCORES_NAME],
            dynamic_axes={name: {0: "B"} for name in (INPUT_NAME, BOXES_NAME, SCORES_NAME)},
            opset_version=OPSET,
        )
    model = onnx.load(path)
    onnx.checker.check_model(model)


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return pictures (B, H, W, 3) uint8 as the network's input (B, 3, H, W)."""
    mean = torch.tensor(preprocessing.mean) * 255.0
    std = torch.tensor(preprocessing.std) * 255.0
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
