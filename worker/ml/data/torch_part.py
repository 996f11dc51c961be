"""A backbone in torch on a GPU, in the place of the compiled graph: the same call, batches made inside.

Threads decode pictures and call with one each; a thread of ours gathers what waits into a batch, for a GPU is idle on
single images. Only used where torch sees CUDA; on a CPU the compiled graph is several times faster.

B is the batch size, H and W pixels, D the length of the features.
"""

import queue
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from app.contracts.bundle import Preprocessing
from worker.ml.backbones.export import ExportedBackbone

_MAX_BATCH = 64
_DRIVER = Path("/proc/driver/nvidia/version")


def has_cuda() -> bool:
    """Tell whether torch sees a CUDA GPU. Imports torch only where a driver is loaded."""
    if not _DRIVER.exists():
        return False
    import torch

    return torch.cuda.is_available()


class TorchPart:
    """From image bytes (B, H, W, 3) uint8 to features (B, D) float32, in float32 arithmetic.

    Args:
        backbone: Which network; its weights are loaded and checked anew, in torch.
        preprocessing: Mean and standard deviation of the input.
        device: `cuda`, or another device of torch's.
    """

    def __init__(self, backbone: ExportedBackbone, preprocessing: Preprocessing, *, device: str = "cuda") -> None:
        import torch

        from worker.ml.backbones.sources import load

        self.n_requests = _MAX_BATCH // 2
        self._device = torch.device(device)
        self._net = load(backbone.card).to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
        self._mean = torch.tensor(preprocessing.mean, device=self._device).view(1, 3, 1, 1) * 255.0
        self._std = torch.tensor(preprocessing.std, device=self._device).view(1, 3, 1, 1) * 255.0
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, Future[np.ndarray]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="torch-part", daemon=True)
        self._thread.start()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the features of a batch (B, H, W, 3), computed together with whatever else waits; blocks meanwhile."""
        answers: list[Future[np.ndarray]] = [Future() for _ in batch]
        for row, answer in zip(batch, answers, strict=True):
            self._waiting.put((row, answer))
        return np.stack([answer.result() for answer in answers])

    def close(self) -> None:
        """End the thread; calls after this wait for ever."""
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken, is_last = [first], False
            while len(taken) < _MAX_BATCH and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    is_last = True
                    break
                taken.append(following)
            try:
                rows = self._run(np.stack([row for row, _ in taken]))
            except Exception as error:  # noqa: BLE001 - whoever asked is told; the thread goes on
                for _, answer in taken:
                    answer.set_exception(error)
            else:
                for (_, answer), row in zip(taken, rows, strict=True):
                    answer.set_result(row)
            if is_last:
                return

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float()
            images = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
            return self._net(images).pooled.float().cpu().numpy()
