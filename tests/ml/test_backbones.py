import numpy as np
import onnxruntime
import pytest
import torch

from app.catalog import BACKBONES
from worker.ml.backbones.export import exported
from worker.ml.backbones.layout import layout_of
from worker.ml.backbones.sources import WeightsChanged, WeightsMissing, load

CARDS = [BACKBONES["toy"], BACKBONES["efficientnet_lite0"]]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_has_the_maps_that_the_catalog_says_and_learns_nothing(card):
    backbone = load(card)
    features = backbone(torch.zeros(2, 3, 64, 64))
    assert features.pooled.shape == (2, layout_of(card).dim)
    maps = list(features.maps.values())
    assert [one.shape[1] for one in maps] == [*(one.channels for one in card.maps), card.last_channels]
    assert [64 // one.shape[2] for one in maps[:-1]] == [one.stride for one in card.maps]
    assert [one.stride for one in card.stages] == sorted({one.stride for one in card.maps})
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.training


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_exported_graph_says_what_torch_says_for_any_batch(card, cache_dir):
    graph = exported(card, image_size_px=64, cache_dir=cache_dir)
    session = onnxruntime.InferenceSession(str(graph.path))
    image = np.random.default_rng(0).uniform(-1, 1, (3, 3, 64, 64)).astype(np.float32)
    outputs = session.run(None, {"image": image})
    features = load(card)(torch.from_numpy(image))
    np.testing.assert_allclose(outputs[0], features.pooled, atol=1e-3)
    for ours, theirs in zip(outputs[1:], features.maps.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_exports_once(cache_dir):
    first = exported(BACKBONES["toy"], image_size_px=64, cache_dir=cache_dir)
    written_at = first.path.stat().st_mtime_ns
    again = exported(BACKBONES["toy"], image_size_px=64, cache_dir=cache_dir)
    assert again.path.stat().st_mtime_ns == written_at
    assert not list(first.path.parent.glob("*.partial"))


def test_refuses_weights_that_are_not_the_ones_it_knows():
    from dataclasses import replace

    with pytest.raises(WeightsChanged):
        load(replace(BACKBONES["efficientnet_lite0"], weights_sha256="ab" * 32))
    with pytest.raises(WeightsMissing):
        load(replace(BACKBONES["efficientnet_lite0"], weights_package="no_such_package"))
