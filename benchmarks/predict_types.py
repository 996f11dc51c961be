"""How long a caller waits for boxes, masks and anomalies: one client, one picture after the other, over REST.

    python -m benchmarks.predict_types [--seconds 10] [--rounds 3] [--size 512] [--data ../shared/data]

Trains a small model of each type with EfficientNet-Lite0 on an input of as many pixels as a 512 px square, boxes on
steel surfaces, masks and anomalies on magnetic tiles; what they find is not judged here. A whole `kizu up` on a new
home answers, with authentication, history and pictures kept. The reference is decoding and one pass of the same
network in this process, one picture after the other, in turns with the served ones.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.predict import Prepared, at, deploy, environment, in_child, run_clients, running

TARGET_P50_MS = 60.0
FOLDERS = {"detection": "steel", "segmentation": "tile", "anomaly": "tile"}
_EVERY = 3  # of the images is learned from, for a while: enough that what is found is no longer noise
_TRAIN_S = 40
_N_PICTURES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512, help="side of the network's input in pixels")
    parser.add_argument("--types", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KIZU_SHARED_DATA", "../shared/data")))
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data = options.data.resolve()
    if options.prepare:
        print(json.dumps(asdict(prepare(options.types[0], options))))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; each type: train a small model, serve, measure")
    print(f"{'type':<14}{'input':>10}{'raw p50':>10}{'served p50':>12}{'p95':>8}{'ratio':>8}   ms", flush=True)
    are_met = []
    for name in options.types:
        with tempfile.TemporaryDirectory(prefix="kizu-benchmark-") as home:
            are_met.append(measure(Path(home), name, options))
    raise SystemExit(0 if all(are_met) else 1)


def measure(home: Path, name: str, options: argparse.Namespace) -> bool:
    """Train, start, measure in turns, print; return whether the type answers in time."""
    env = environment(home)
    arguments = ["--prepare", "--size", str(options.size), "--data", str(options.data), "--types", name]
    prepared = Prepared(**in_child(env, "benchmarks.predict_types", *arguments))
    folder = options.data / FOLDERS[name] / "images"
    raw = RawCalls(Path(prepared.bundle), sorted(folder.iterdir())[:_N_PICTURES])
    alone: list[float] = []
    served: list[float] = []
    with running(home, env) as (port, _pid):
        run_clients(1, 1.0, port, prepared, folder)  # the first call compiles the model
        for _ in range(options.rounds):
            alone += raw.times(options.seconds / 2)
            served += run_clients(1, options.seconds, port, prepared, folder)
    p50, p95, reference = at(served, 0.5), at(served, 0.95), at(alone, 0.5)
    is_met = p50 <= TARGET_P50_MS
    print(
        f"{name:<14}{raw.input:>10}{reference:10.1f}{p50:12.1f}{p95:8.1f}{p50 / reference:8.2f}   "
        f"{'PASS' if is_met else 'MISSED'}  p50 <= {TARGET_P50_MS:g} ms",
        flush=True,
    )
    return is_met


class RawCalls:
    """A bundle's network alone, fed by one caller who decodes each picture and waits for each answer."""

    def __init__(self, bundle_dir: Path, files: list[Path]) -> None:
        from app.inference import read_bundle
        from app.inference.sessions.openvino import image_part, supported_precision

        manifest = read_bundle(bundle_dir).manifest
        self._preprocessing = manifest.preprocessing
        self.input = f"{manifest.preprocessing.width_px} x {manifest.preprocessing.height_px}"
        precision = supported_precision(manifest.precision)
        names = [manifest.boxes_name, manifest.scores_name] if manifest.boxes_name else manifest.scores_name
        self._part = image_part(bundle_dir / "model.onnx", names, manifest.preprocessing, precision=precision)
        self._contents = itertools.cycle([file.read_bytes() for file in files])

    def times(self, seconds: float) -> list[float]:
        """Return the seconds that each call took, for a while."""
        from app.inference import to_pixels

        times = []
        ends = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < ends:
            self._part.all(to_pixels(next(self._contents), self._preprocessing)[None])
            times.append(time.perf_counter() - begun)
        return times


# --- the models ------------------------------------------------------------------------------------------------------


def prepare(name: str, options: argparse.Namespace) -> Prepared:
    """Train a small model of a type in the home that the environment names, and put an endpoint on it."""
    from app.contracts.jobs import TrainSpec
    from app.settings import get_settings
    from worker.ml.training.registry import TRAININGS

    dataset = _dataset(name, options.data / FOLDERS[name])
    return deploy(
        TRAININGS[dataset.task](
            TrainSpec(image_size_px=options.size, backbone="efficientnet_lite0", time_budget_s=_TRAIN_S),
            dataset,
            open_image=lambda item: Path(item.blob_key),
            cache_dir=get_settings().cache_dir,
            work_dir=get_settings().home / f"work-{name}",
            on_event=lambda _event: None,
        ),
        name=name,
    )


def _dataset(name: str, folder: Path):
    """Return the images to learn from: all for anomalies, so that the memory is full, few for the rest."""
    from benchmarks import anomaly, detection, segmentation

    if name == "anomaly":
        return anomaly.build_dataset(folder, n_good=None, seed=0, is_validation=False)
    if name == "detection":
        whole = detection.read_voc(folder)
    else:
        whole, _ = segmentation.read_masks(folder)
    return whole.model_copy(update={"items": whole.items[::_EVERY]})


if __name__ == "__main__":
    main()
