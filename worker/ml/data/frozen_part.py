"""The part of a backbone that does not learn, in OpenVINO: pictures in, the maps that torch goes on from out.

It is several times faster there than in torch, so pictures may be changed anew in every epoch, instead of learning
from maps that were computed once. B is the batch size, H and W the input's sides in pixels, C channels.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from app.contracts.bundle import Precision, Preprocessing
from app.inference.sessions.openvino import core, n_cpus, supported_precision
from worker.ml.backbones.export import ExportedBackbone
from worker.ml.backbones.layout import map_names


class FrozenPart:
    """Maps of a backbone for pictures, one picture a request and a request a core.

    Args:
        backbone: The exported graph.
        indices: The maps that are wanted, as counted in the card.
        preprocessing: Mean and standard deviation of the pixels.
        precision: Wanted arithmetic; `f32` is used where the CPU has no bf16.
    """

    def __init__(
        self,
        backbone: ExportedBackbone,
        indices: Sequence[int],
        preprocessing: Preprocessing,
        *,
        precision: Precision,
    ) -> None:
        import openvino
        from openvino.preprocess import PrePostProcessor

        names = [map_names(backbone.card)[index] for index in indices]
        whole = core().read_model(backbone.path)
        by_name = {name: output for output in whole.outputs for name in output.get_names()}
        model = openvino.Model([by_name[name] for name in names], whole.get_parameters())
        model.reshape([1, 3, preprocessing.height_px, preprocessing.width_px])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        mean = [255.0 * value for value in preprocessing.mean]
        std = [255.0 * value for value in preprocessing.std]
        steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
        for index in range(len(names)):
            # As torch wants channels_last maps: no copy in another order.
            steps.output(index).model().set_layout(openvino.Layout("NCHW"))
            steps.output(index).tensor().set_layout(openvino.Layout("NHWC"))
        config = {
            "INFERENCE_PRECISION_HINT": supported_precision(precision),
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": n_cpus(),
            "INFERENCE_NUM_THREADS": n_cpus(),
        }
        compiled = core().compile_model(steps.build(), "CPU", config)
        self._shapes = [tuple(output.get_shape())[1:] for output in compiled.outputs]
        self._queue = openvino.AsyncInferQueue(compiled, n_cpus())

    def __call__(self, pictures: Iterable[np.ndarray], n: int) -> list[Tensor]:
        """Return the maps of `n` pictures (H, W, 3) uint8, each (B, C, H', W') in channels_last order.

        Pictures are taken one by one while earlier ones are computed.
        """
        maps = [np.empty((n, *shape), dtype=np.float32) for shape in self._shapes]

        def keep(request: object, index: int) -> None:
            for place, one in enumerate(maps):
                one[index] = request.get_output_tensor(place).data[0]  # type: ignore[attr-defined]

        self._queue.set_callback(keep)
        for index, picture in enumerate(pictures):
            self._queue.start_async({0: np.ascontiguousarray(picture)[None]}, userdata=index)
        self._queue.wait_all()
        return [torch.from_numpy(one).permute(0, 3, 1, 2) for one in maps]
