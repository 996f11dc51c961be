import asyncio
import json
import shutil
import threading

import pytest

from app.core.errors import Unavailable
from app.core.pictures import BrokenPicture
from app.inference import BatchingPredictor, BundleInvalid, BundleTooNew, Engine, read_bundle


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained.bundle_dir, tmp_path / "bundle")


def test_compiles_a_model_once_for_many_threads(trained):
    engine = Engine()
    found = []
    threads = [threading.Thread(target=lambda: found.append(engine.get(trained.bundle_dir))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model) for model in found}) == 1


def test_forgets_the_model_used_longest_ago(trained, copy):
    engine = Engine(max_bytes=1)
    first = engine.get(trained.bundle_dir)
    engine.get(copy)
    assert engine.get(trained.bundle_dir) is not first


def test_refuses_a_changed_file(copy):
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleInvalid):
        Engine().get(copy)


def test_refuses_a_bundle_of_a_newer_kizu(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(BundleTooNew):
        read_bundle(copy)


def test_a_folder_without_a_model_is_no_bundle(tmp_path):
    with pytest.raises(BundleInvalid):
        read_bundle(tmp_path)


@pytest.fixture
def predictor():
    running = BatchingPredictor(max_waiting=4, n_threads=2)
    yield running
    running.close()


def test_many_callers_get_their_own_answers(trained, parts, predictor):
    model = Engine().get(trained.bundle_dir)
    expected = {row.image_id: row.scores for row in trained.predictions}

    async def ask(item):
        while True:
            try:
                return item.image_id, await predictor.predict(model, parts.open_image(item))
            except Unavailable:
                await asyncio.sleep(0.01)

    async def everyone():
        return await asyncio.gather(*(ask(item) for item in parts.dataset.items[:30]))

    for image_id, answer in asyncio.run(everyone()):
        assert answer.scores.scores == pytest.approx(expected[image_id], abs=1e-5)


def test_a_damaged_picture_fails_alone(trained, parts, predictor):
    model = Engine().get(trained.bundle_dir)
    bad = predictor.submit(model, b"\xff\xd8\xff damaged")
    good = predictor.submit(model, parts.open_image(parts.dataset.items[0]))
    with pytest.raises(BrokenPicture):
        bad.result(10)
    assert good.result(10).scores


def test_a_full_queue_says_come_back(trained, parts):
    model = Engine().get(trained.bundle_dir)
    predictor = BatchingPredictor(max_waiting=1, n_threads=1)
    picture = parts.open_image(parts.dataset.items[0])

    def flood():
        for _ in range(500):
            predictor.submit(model, picture)

    with pytest.raises(Unavailable) as refused:
        flood()
    assert refused.value.headers == {"Retry-After": "1"}
    predictor.close()
    with pytest.raises(Unavailable):
        predictor.submit(model, picture)


def test_importing_the_engine_is_light():
    import subprocess
    import sys

    from app.settings import ROOT

    code = """
import sys, app.inference, app.catalog
print([m for m in ("openvino", "onnxruntime", "torch", "sklearn", "onnx") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_ready_export_needs_no_torch(trained, cache_dir, parts):
    import subprocess
    import sys

    from app.settings import ROOT

    code = f"""
import sys, pathlib
from app.catalog import BACKBONES
import worker.ml.training.classification
from worker.ml.backbones.export import exported
exported(BACKBONES["toy"], image_size_px=64, cache_dir=pathlib.Path({str(cache_dir)!r}))
print([m for m in ("torch", "timm", "sklearn") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
