"""A trained detector as one graph: `image` to `boxes` (B, A, 4) and `scores` (B, A, K)."""

from torch import Tensor

from worker.ml.backbones.base import Backbone
from worker.ml.evaluation.score_calibration import ScoreMap
from worker.ml.exporters.network import SCORES_NAME, Whole
from worker.ml.heads.detection import Answers
from worker.ml.heads.network import Network

BOXES_NAME = "boxes"


class WholeDetector(Whole):
    """Boxes, and readable scores instead of logits."""

    names = (BOXES_NAME, SCORES_NAME)

    def __init__(self, backbone: Backbone, network: Network, score_map: ScoreMap) -> None:
        super().__init__(backbone, network)
        self.score_map = score_map

    def finish(self, answers: Answers) -> tuple[Tensor, Tensor]:
        return answers.boxes, (self.score_map.slope * answers.logits + self.score_map.shift).sigmoid()
