"""Composing a classifier's graph: views, backbone, mean over views, head, softmax, and class activation.

The z-score and the temperature are folded into the head's weights. B is the batch size, V the number of views, D the
length of the features, K the number of classes, G the side of the heat map.

Source of the heat map: class activation mapping, Zhou et al., CVPR 2016, arXiv:1512.04150, here summed over all maps
whose averages and root mean squares the linear head reads. What peaks, dips and the kernel part contribute has no
extent and is left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from app.catalog import View
from worker.ml.backbones.export import FEATURES_NAME, INPUT_NAME, ExportedBackbone
from worker.ml.backbones.layout import FeaturePart, map_names
from worker.ml.exporters.graph import PREFIX, Graph
from worker.ml.heads.kernel import Head, KernelPart
from worker.ml.heads.linear import LinearHead

_HEAT_STRIDE = 16
_MIN_HEAT_SIDE = 8


def compose(
    backbone: ExportedBackbone,
    views: Sequence[View],
    head: Head,
    feature_mean: np.ndarray,
    path: Path,
) -> None:
    """Write the graph of a classifier: `image` to `features` (B, D), `scores` (B, K) and `heat` (B, K, G, G).

    Args:
        backbone: The exported backbone; its graph becomes part of the new one.
        views: Views that features are averaged over.
        head: Head on raw features, already divided by the temperature.
        feature_mean: Mean features (D,) of the training images: the zero of the heat map.
        path: The file to write.
    """
    source = onnx.load(backbone.path)
    graph = Graph()
    _prepare_backbone(source, graph, views)
    before = list(graph.nodes)
    graph.nodes = []
    _add_scores(graph, backbone, views, head)
    _add_heat(graph, backbone, views, head.linear, feature_mean)
    k = len(head.linear.bias)
    side = heat_side(backbone)
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", backbone.layout.dim]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", k]),
        helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["B", k, side, side]),
    ]
    composed = helper.make_graph(
        [*before, *source.graph.node, *graph.nodes],
        "kizu-classifier",
        list(source.graph.input),
        outputs,
        initializer=[*source.graph.initializer, *graph.constants],
    )
    model = helper.make_model(composed, opset_imports=list(source.opset_import), producer_name="kizu")
    model.ir_version = source.ir_version
    onnx.checker.check_model(model)
    onnx.save(model, path)


def heat_side(backbone: ExportedBackbone) -> int:
    return max(_MIN_HEAT_SIDE, backbone.image_size_px // _HEAT_STRIDE)


def _prepare_backbone(source: onnx.ModelProto, graph: Graph, views: Sequence[View]) -> None:
    """Let the backbone read all views as one batch (V * B), and free its names `image` and `features`."""
    seen = f"{PREFIX}views"
    if len(views) == 1 and views[0].index == 0:
        seen = INPUT_NAME
    else:
        turned = [graph.seen_from(INPUT_NAME, view) for view in views]
        graph.add("Concat", *turned, name=seen, axis=0)
    for node in source.graph.node:
        _rename(node.input, INPUT_NAME, seen)
        _rename(node.input, FEATURES_NAME, f"{PREFIX}view_features")
        _rename(node.output, FEATURES_NAME, f"{PREFIX}view_features")


def _rename(names: "onnx.NodeProto", old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _add_scores(graph: Graph, backbone: ExportedBackbone, views: Sequence[View], head: Head) -> None:
    shape = graph.constant([len(views), -1, backbone.layout.dim])
    by_view = graph.add("Reshape", f"{PREFIX}view_features", shape)
    graph.add("ReduceMean", by_view, name="features", axes=[0], keepdims=0)
    logits = graph.add("Gemm", "features", graph.constant(head.linear.weight), graph.constant(head.linear.bias))
    if head.kernel is not None:
        logits = graph.add("Add", logits, _kernel_logits(graph, head.kernel))
    graph.add("Softmax", logits, name="scores", axis=1)


def _kernel_logits(graph: Graph, part: KernelPart) -> str:
    """Add `exp(-gamma * |x - centre|^2) @ weight`, the square written out: no tensor of (B, S, P) is made."""
    points = graph.add("Gemm", "features", graph.constant(part.directions), graph.constant(part.offset))
    own = graph.add("ReduceSumSquare", points, axes=[1], keepdims=1)
    theirs = graph.constant(np.einsum("ij,ij->i", part.centres, part.centres)[None])
    both = graph.add("MatMul", points, graph.constant(-2.0 * part.centres.T))
    distance = graph.add("Relu", graph.add("Add", graph.add("Add", both, own), theirs))
    near = graph.add("Exp", graph.add("Mul", distance, graph.constant(np.array(-part.gamma))))
    return graph.add("MatMul", near, graph.constant(part.weight))


def _add_heat(
    graph: Graph, backbone: ExportedBackbone, views: Sequence[View], head: LinearHead, feature_mean: np.ndarray
) -> None:
    side = heat_side(backbone)
    parts = [part for part in backbone.layout.parts if part.pooling in ("avg", "rms")]
    layers = [
        _shrunk(graph, _activation(graph, backbone, part, head, feature_mean), _map_side(backbone, part), side)
        for part in parts
    ]
    total = graph.add("Sum", *layers)
    k = len(head.bias)
    by_view = graph.add("Reshape", total, graph.constant([len(views), -1, k, side, side]))
    straight = [
        graph.seen_back(graph.add("Gather", by_view, graph.constant(np.array(index)), axis=0), view)
        for index, view in enumerate(views)
    ]
    graph.add("Mean", *straight, name="heat")


def _activation(
    graph: Graph, backbone: ExportedBackbone, part: FeaturePart, head: LinearHead, feature_mean: np.ndarray
) -> str:
    """Add what one map says for each class at each place, (V * B, K, H', W'): 0 is the average training image.

    The mean over all places is exactly what the part adds to the logit. For a root mean square r of values x that is
    the mean of x * x / r.
    """
    weight = head.weight[part.columns].T
    bias = graph.constant((-weight @ feature_mean[part.columns]).astype(np.float32))
    kernel = graph.constant(weight.astype(np.float32)[:, :, None, None])
    values = part.map_name
    if part.pooling == "rms":
        norm = graph.add("ReduceL2", values, axes=[2, 3], keepdims=1)
        share = graph.constant(np.array(1.0 / _map_side(backbone, part), dtype=np.float32))
        rms = graph.add("Add", graph.add("Mul", norm, share), graph.constant(np.array(1e-6, dtype=np.float32)))
        values = graph.add("Div", graph.add("Mul", values, values), rms)
    return graph.add("Conv", values, kernel, bias)


def _shrunk(graph: Graph, activation: str, own_side: int, side: int) -> str:
    """Bring a map (V * B, K, own_side, own_side) to the side of the heat map: averaged down, or interpolated up."""
    shrink = own_side // side
    if shrink > 1:
        activation = graph.add("AveragePool", activation, kernel_shape=[shrink] * 2, strides=[shrink] * 2)
        own_side //= shrink
    if own_side == side:
        return activation
    scales = graph.constant(np.array([1.0, 1.0, side / own_side, side / own_side], dtype=np.float32))
    return graph.add("Resize", activation, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def _map_side(backbone: ExportedBackbone, part: FeaturePart) -> int:
    card = backbone.card
    strides = {name: one.stride for name, one in zip(map_names(card), card.maps, strict=True)}
    return -(-backbone.image_size_px // strides.get(part.map_name, card.maps[-1].stride))
