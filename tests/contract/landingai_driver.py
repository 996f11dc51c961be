"""Drives the published `landingai` client; run by the interpreter of `.venv-landingai`, which has nothing of ours.

Reads one JSON object from standard input: `url`, `endpoint_id`, `key`, `picture` (path), `n` (calls), `metadata` or
null. Prints one JSON object: `predictions` of all calls, the last call's `metrics`, and the `error` class or null.
"""

import json
import sys

from landingai.common import InferenceMetadata
from landingai.predict import Predictor
from PIL import Image


def main() -> None:
    job = json.load(sys.stdin)
    Predictor._url = job["url"]
    predictions, metrics, error = [], {}, None
    metadata = InferenceMetadata(**job["metadata"]) if job["metadata"] else None
    try:
        predictor = Predictor(job["endpoint_id"], api_key=job["key"])
        for _ in range(job["n"]):
            for prediction in predictor.predict(Image.open(job["picture"]), metadata=metadata):
                found = {
                    "type": type(prediction).__name__,
                    "label": prediction.label_name,
                    "index": prediction.label_index,
                    "score": prediction.score,
                }
                if hasattr(prediction, "bboxes"):
                    found["box"] = list(prediction.bboxes)
                if hasattr(prediction, "decoded_boolean_mask"):
                    found["mask"] = prediction.decoded_boolean_mask.tolist()
                predictions.append(found)
        metrics = predictor.get_metrics()
    except Exception as raised:  # noqa: BLE001 - whatever the client makes of our answer is what the test looks at
        error = type(raised).__name__
    json.dump({"predictions": predictions, "metrics": metrics, "error": error}, sys.stdout)


main()
