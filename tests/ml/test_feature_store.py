import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from app.catalog import BACKBONES, SYMMETRIES
from app.contracts.bundle import Preprocessing
from worker.ml.backbones.export import exported
from worker.ml.data.extraction import FeatureExtractor, seen_from
from worker.ml.data.feature_store import FeatureKind, FeatureStore

PREPROCESSING = Preprocessing(
    width_px=64, height_px=64, resize="stretch", resample="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
)


def kind(precision="f32", dim=8):
    return FeatureKind("toy", "abc", PREPROCESSING, precision, "openvino-1", dim)


def sha(index):
    return f"{index:064x}"


def test_returns_what_was_stored_and_only_that(tmp_path):
    vector = np.linspace(0, 1, 8, dtype=np.float32)
    with FeatureStore(tmp_path, kind()) as store:
        store.write({(sha(1), 0): vector})
        assert store.present([sha(1), sha(2)], 0) == {sha(1)}
        assert store.present([sha(1)], 1) == set()
    with FeatureStore(tmp_path, kind()) as store:
        np.testing.assert_array_equal(store.read([sha(1), sha(2)], 0)[sha(1)], vector)


def test_kinds_never_mix(tmp_path):
    with FeatureStore(tmp_path, kind("f32")) as one, FeatureStore(tmp_path, kind("bf16")) as other:
        one.write({(sha(1), 0): np.ones(8, np.float32)})
        assert other.read([sha(1)], 0) == {}


def test_a_vector_of_the_wrong_length_counts_as_missing(tmp_path):
    with FeatureStore(tmp_path, kind()) as store:
        store._connection.execute("INSERT INTO feature VALUES (?, 0, ?)", (bytes.fromhex(sha(1)), b"short"))
        assert store.read([sha(1)], 0) == {}


def test_thousands_are_read_in_a_moment(tmp_path):
    generator = np.random.default_rng(0)
    with FeatureStore(tmp_path, kind("bf16", 2848)) as store:
        store.write({(sha(i), 0): generator.normal(size=2848) for i in range(2000)})
        started = time.process_time()
        assert len(store.read([sha(i) for i in range(2000)], 0)) == 2000
        assert time.process_time() - started < 0.5


WRITER = """
import sys, numpy as np
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.ml.test_feature_store import kind, sha
from worker.ml.data.feature_store import FeatureStore
with FeatureStore(Path({folder!r}), kind()) as store:
    for index in range(10**9):
        store.write({{(sha(index), 0): np.full(8, index, np.float32)}})
        print(index, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_survives_a_kill_in_the_middle_of_writing(tmp_path):
    from app.settings import ROOT

    code = WRITER.format(root=str(ROOT), folder=str(tmp_path))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    seen = [int(writer.stdout.readline()) for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with FeatureStore(tmp_path, kind()) as store:
        stored = store.read([sha(index) for index in seen], 0)
        assert len(stored) == 50
        assert all(stored[sha(index)][0] == index for index in seen)
        store.write({(sha(10**6), 0): np.zeros(8, np.float32)})


def test_extraction_computes_each_view_once(cache_dir, tmp_path, parts):
    graph = exported(BACKBONES["toy"], image_size_px=64, cache_dir=cache_dir)
    opened = []

    def open_image(item):
        opened.append(item.image_id)
        return parts.open_image(item)

    extractor = FeatureExtractor(graph, PREPROCESSING, precision="f32", cache_dir=tmp_path, open_image=open_image)
    items = parts.dataset.items[:6]
    first = extractor.extract(items, SYMMETRIES["identity"].views)
    assert (first.n_computed, len(opened)) == (6, 6)
    second = extractor.extract(items, SYMMETRIES["rot90"].views)
    assert (second.n_computed, len(opened)) == (6, 12)
    third = extractor.extract(items, SYMMETRIES["rot90"].views)
    assert (third.n_computed, len(opened)) == (0, 12)
    assert extractor.n_missing(items, SYMMETRIES["rot90"].views) == 0
    for key, vector in second.vectors.items():
        np.testing.assert_array_equal(third.vectors[key], vector)


def test_the_eight_views_of_a_picture_differ_and_the_first_is_itself():
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    views = [seen_from(pixels, view).tobytes() for view in SYMMETRIES["d4"].views]
    assert len(set(views)) == 8
    assert views[0] == pixels.tobytes()
