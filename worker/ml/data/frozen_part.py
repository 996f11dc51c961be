"""The part of a backbone that does not learn, in OpenVINO: pictures in, the maps that torch goes on from out.

It is several times faster there than in torch, so pictures may be changed anew in every epoch, instead of learning
from maps that were computed once. B is the batch size, H and W the input's sides in pixels, C channels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.contracts.bundle import Precision, Preprocessing
from app.inference.sessions.openvino import core, n_cpus, supported_precision
from worker.ml.backbones.export import FEATURES_NAME, ExportedBackbone
from worker.ml.backbones.layout import map_names


class FrozenPart:
    """Maps of a backbone for pictures, one picture a request and a request a core.

    Args:
        backbone: The exported graph.
        indices: The maps that are wanted, as counted in the card.
        preprocessing: Mean and standard deviation of the pixels.
        precision: Wanted arithmetic; `f32` is used where the CPU has no bf16.
        pooled: The maps whose pooled features are wanted too, in the order of the layout.
    """

    def __init__(
        self,
        backbone: ExportedBackbone,
        indices: Sequence[int],
        preprocessing: Preprocessing,
        *,
        precision: Precision,
        pooled: Sequence[int] = (),
    ) -> None:
        import openvino
        from openvino.preprocess import PrePostProcessor

        names = [map_names(backbone.card)[index] for index in indices]
        whole = core().read_model(backbone.path)
        by_name = {name: output for output in whole.outputs for name in output.get_names()}
        wanted = [by_name[name] for name in names]
        if pooled:
            wanted.append(_pooled(by_name[FEATURES_NAME].get_node().input_value(0).get_node(), backbone, pooled))
        model = openvino.Model(wanted, whole.get_parameters())
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

        Pooled features (B, D'), where wanted, come after them.
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
        found = [torch.from_numpy(one) for one in maps]
        return [one.permute(0, 3, 1, 2) if one.ndim == 4 else one for one in found]


def _pooled(features: Any, backbone: ExportedBackbone, indices: Sequence[int]) -> Any:
    """Return some of what the graph joins to its features: the parts of these maps, (B, D')."""
    from openvino import opset13

    names = {map_names(backbone.card)[index] for index in indices}
    parts = [features.input_value(place) for place, part in enumerate(backbone.layout.parts) if part.map_name in names]
    return opset13.concat(parts, 1).output(0)
