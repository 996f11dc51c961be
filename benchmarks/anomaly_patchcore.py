"""anomalib's PatchCore on the pictures of `benchmarks.anomaly`, for comparison; run by it with `--patchcore`.

PatchCore gets the same weights, two stages (stride 8 and 16), 320 x 320 pixels and a coreset of 1 %, everything else as
anomalib has it. It lives in an environment of its own, made on the first run, which sees the project's packages.
"""

import json
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np

SIDE_PX = 320
SHARE = 0.01
STRIDES = (8, 16)
_BATCH = 8
_ENVIRONMENT = Path(__file__).resolve().parents[1] / "build" / "venv-anomalib"


def run(dataset_path: Path, data: Path, backbone: str) -> dict:
    """Return what PatchCore took and found on a dataset version that was written as JSON.

    Raises:
        subprocess.CalledProcessError: anomalib could not be installed or failed.
    """
    command = [str(_interpreter()), "-m", "benchmarks.anomaly_patchcore", str(dataset_path), str(data), backbone]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _interpreter() -> Path:
    python = _ENVIRONMENT / "bin" / "python"
    ready = _ENVIRONMENT / "ready"
    if not ready.exists():
        venv.create(_ENVIRONMENT, with_pip=True, clear=True)
        # Its own packages come first; torch, timm and the rest are not installed a second time.
        seen = next(path for path in sys.path if path.endswith("site-packages"))
        (_ENVIRONMENT / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "project.pth").write_text(seen)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "anomalib"], check=True)
        ready.touch()
    return python


def main() -> None:
    import torch

    from app.catalog import BACKBONES
    from app.contracts.dataset import Dataset
    from app.contracts.tasks import Split
    from benchmarks.anomaly import peak_memory_mb

    dataset, data = Dataset.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    good_id = next(category.id for category in dataset.categories if category.is_good)
    good = [item for item in dataset.items if item.split is Split.TRAIN]
    test = [item for item in dataset.items if item.split is Split.TEST]
    torch.manual_seed(0)
    started = time.perf_counter()
    model = _model(BACKBONES[sys.argv[3]])
    model.train()
    for start in range(0, len(good), _BATCH):
        model(torch.stack([_pixels(item.blob_key, BACKBONES[sys.argv[3]]) for item in good[start : start + _BATCH]]))
    model.subsample_embedding(SHARE)
    fitted = time.perf_counter()
    model.eval()
    scores, maps = [], []
    with torch.no_grad():
        for item in test:
            answer = model(_pixels(item.blob_key, BACKBONES[sys.argv[3]])[None])
            scores.append(float(answer.pred_score.ravel()[0]))
            maps.append(answer.anomaly_map[0, 0].numpy())
    ended = time.perf_counter()
    peak_mb = peak_memory_mb()
    figures = _figures(test, data, np.array([item.category_id != good_id for item in test]), scores, maps)
    n_kept = len(model.memory_bank)
    print(
        json.dumps(
            {"fit_s": fitted - started, "score_s": ended - fitted, "peak_mb": peak_mb, "n_kept": n_kept, **figures}
        )
    )


def _model(card):
    from worker.ml import compat
    from worker.ml.backbones.sources import load

    timm = compat.import_timm()  # before anomalib: it makes torchvision importable beside a CPU build of torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    plain = timm.create_model(card.architecture, features_only=True)
    stages = {info["reduction"]: info["module"] for info in plain.feature_info.info}
    model = PatchcoreModel([stages[stride] for stride in STRIDES], backbone=card.architecture, pre_trained=False)
    own = model.feature_extractor.feature_extractor
    trained = load(card)
    own.load_state_dict({name: value for name, value in trained.net.state_dict().items() if name in own.state_dict()})
    for name, module in own.named_modules():
        if hasattr(module, "running_var"):
            module.eps = trained.net.get_submodule(name).eps
    return model


def _pixels(path: str, card):
    import torch
    from PIL import Image

    with Image.open(path) as image:
        resized = image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    values = (np.asarray(resized, dtype=np.float32) / 255.0 - np.float32(card.mean)) / np.float32(card.std)
    return torch.from_numpy(values).permute(2, 0, 1)


def _figures(test, data: Path, is_bad: np.ndarray, scores: list[float], maps: list[np.ndarray]) -> dict[str, float]:
    from PIL import Image
    from sklearn.metrics import average_precision_score, roc_auc_score

    from benchmarks.anomaly import mask_of
    from worker.ml.evaluation.localisation import aupro, pixel_auroc

    sizes = [(item.width_px, item.height_px) for item in test]
    drawn = [
        np.asarray(Image.fromarray(one.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for one, size in zip(maps, sizes, strict=True)
    ]
    masks = [mask_of(data, Path(item.blob_key).name, size) for item, size in zip(test, sizes, strict=True)]
    return {
        "auroc": float(roc_auc_score(is_bad, scores)),
        "average_precision": float(average_precision_score(is_bad, scores)),
        "pixel_auroc": pixel_auroc(masks, drawn),
        "aupro": aupro(masks, drawn),
    }


if __name__ == "__main__":
    main()
