"""Looking at many images at once, and what can be said of their order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from app.contracts.dataset import DatasetItem
from app.inference.sessions.openvino import n_cpus
from worker.ml.training.reporting import Reporter

_Found = TypeVar("_Found")


def each_image(
    items: Sequence[DatasetItem],
    look: Callable[[DatasetItem], _Found],
    reporter: Reporter,
    unreadable: dict[int, str],
) -> Iterator[tuple[DatasetItem, _Found]]:
    """Yield what is found on each image in order, with every core busy; one that cannot be read is left out.

    Args:
        items: The images.
        look: What is done with each, in several threads.
        reporter: Told of each image.
        unreadable: By image id why it cannot be read; new ones are added, and warned of once.
    """

    def guarded(item: DatasetItem) -> _Found | str:
        try:
            return look(item)
        except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the training
            return str(error) or type(error).__name__

    with ThreadPoolExecutor(n_cpus() + 1) as pool:
        try:
            for n_done, (item, found) in enumerate(zip(items, pool.map(guarded, items), strict=True), start=1):
                reporter.step(n_done / len(items), f"{n_done:,} of {len(items):,} images")
                if not isinstance(found, str):
                    yield item, found
                elif item.image_id not in unreadable:
                    unreadable[item.image_id] = found
                    reporter.log(f"Image {item.image_id} was left out: {found}", is_warning=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def average_precision(is_abnormal: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under precision against recall; None where one side has no image."""
    if is_abnormal.all() or not is_abnormal.any():
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(is_abnormal, scores))
