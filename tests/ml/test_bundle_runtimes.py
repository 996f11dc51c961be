"""One contract, every runtime."""

import numpy as np
import pytest
import torch
from PIL import Image

from app.catalog import BACKBONES, SYMMETRIES
from app.inference import read_bundle, to_pixels
from app.inference.scoring import ScoringModel
from app.inference.sessions import SESSIONS
from worker.ml.backbones.sources import load
from worker.ml.data.extraction import seen_from


@pytest.fixture(params=sorted(SESSIONS))
def model(request, trained):
    bundle = read_bundle(trained.bundle_dir)
    return ScoringModel(bundle, SESSIONS[request.param](bundle))


def test_answers_as_evaluated(model, trained, parts):
    items = parts.dataset.items[-8:]
    expected = {row.image_id: row.scores for row in trained.predictions}
    answers = model.predict([parts.open_image(item) for item in items])
    np.testing.assert_allclose(
        [answer.scores.scores for answer in answers], [expected[item.image_id] for item in items], atol=1e-4
    )


def test_features_are_those_of_torch_averaged_over_the_views(model, trained, parts):
    pixels = to_pixels(parts.open_image(parts.dataset.items[0]), trained.manifest.preprocessing)
    views = np.stack([seen_from(pixels, view) for view in SYMMETRIES["rot90"].views])
    image = torch.from_numpy((views.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32))
    expected = load(BACKBONES["toy"])(image).pooled.mean(0).numpy()
    np.testing.assert_allclose(model.session.features(pixels[None])[0], expected, atol=1e-4)


def test_a_quarter_turn_changes_nothing_under_all_turns(cache_dir, parts, train):
    from app.contracts.jobs import TrainSpec

    trained = train(spec=TrainSpec(backbone="toy", symmetry="turns"))
    bundle = read_bundle(trained.bundle_dir)
    model = ScoringModel(bundle, SESSIONS["openvino"](bundle))
    image = Image.fromarray(to_pixels(parts.open_image(parts.dataset.items[0]), trained.manifest.preprocessing))
    answers = model.predict([image, image.transpose(Image.Transpose.ROTATE_90)])
    np.testing.assert_allclose(answers[0].scores.scores, answers[1].scores.scores, atol=1e-5)


@pytest.mark.parametrize("symmetry", ["identity", "d4"])
def test_the_heat_map_lights_the_scratch(train, parts, symmetry):
    from app.contracts.jobs import TrainSpec

    trained = train(spec=TrainSpec(backbone="toy", symmetry=symmetry))
    bundle = read_bundle(trained.bundle_dir)
    model = ScoringModel(bundle, SESSIONS["openvino"](bundle))
    hits = []
    for item in parts.dataset.items:
        if item.split == "test" and item.image_id in parts.boxes:
            heat = model.explain(parts.open_image(item), category_index=1)
            row, column = np.unravel_index(heat.values.argmax(), heat.values.shape)
            scale = 64 / heat.values.shape[0]
            x, y = (column + 0.5) * scale, (row + 0.5) * scale
            left, top, right, bottom = parts.boxes[item.image_id]
            hits.append(left - scale <= x <= right + scale and top - scale <= y <= bottom + scale)
    assert np.mean(hits) >= 0.9, hits


def test_heat_is_the_same_in_every_runtime(model, parts, trained):
    pixels = to_pixels(parts.open_image(parts.dataset.items[0]), trained.manifest.preprocessing)[None]
    reference = SESSIONS["openvino"](read_bundle(trained.bundle_dir)).heat(pixels)
    np.testing.assert_allclose(model.session.heat(pixels), reference, atol=1e-3)


def test_says_what_it_runs_on(model):
    assert model.session.engine.split()[0] in SESSIONS
    assert model.n_bytes > 0
