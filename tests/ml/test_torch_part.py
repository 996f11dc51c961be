"""The GPU's way to features gives what the compiled graph gives; run on torch's CPU, and on CUDA where there is one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.catalog import BACKBONES
from app.contracts.bundle import Preprocessing
from app.inference.sessions.openvino import image_part
from worker.ml.backbones.export import FEATURES_NAME, exported
from worker.ml.data.torch_part import TorchPart, has_cuda

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["toy", "efficientnet_lite0"])
def test_features_agree_with_the_compiled_graph(name: str, device: str, tmp_path: Path) -> None:
    if device == "cuda" and not has_cuda():
        pytest.skip("torch sees no CUDA device")
    card = BACKBONES[name]
    preprocessing = Preprocessing(
        width_px=96, height_px=96, resize="stretch", resample="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    graph = exported(card, image_size_px=96, cache_dir=tmp_path)
    compiled = image_part(graph.path, FEATURES_NAME, preprocessing, precision="f32")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 96, 96, 3), dtype=np.uint8)
    part = TorchPart(graph, preprocessing, device=device)
    with ThreadPoolExecutor(6) as pool:  # as the extractor calls it: one picture a call, from many threads
        ours = np.concatenate(list(pool.map(lambda picture: part(picture[None]), pictures)))
    part.close()
    theirs = compiled(pictures)
    assert ours.shape == theirs.shape == (12, graph.layout.dim)
    assert np.abs(ours - theirs).max() < 1e-3 * max(1.0, np.abs(theirs).max())


def test_a_failure_reaches_whoever_asked_and_the_next_call_works(tmp_path: Path) -> None:
    card = BACKBONES["toy"]
    preprocessing = Preprocessing(
        width_px=32, height_px=32, resize="stretch", resample="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    part = TorchPart(exported(card, image_size_px=32, cache_dir=tmp_path), preprocessing, device="cpu")
    with pytest.raises(Exception, match=r"channel|size|dimension|shape"):
        part(np.zeros((1, 32, 32, 5), np.uint8))
    assert np.isfinite(part(np.zeros((1, 32, 32, 3), np.uint8))).all()
    part.close()
