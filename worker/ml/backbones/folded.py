"""Blocks of a backbone as they learn: the same answers and the same parameters, in about half the time on a CPU.

A norm that keeps its statistics is a factor and a shift for each channel. Multiplied into the convolution before it
(the weights, not the maps), it costs nothing, and still learns. Convolutions of one place run in bf16 where that is
asked for; depthwise ones are quicker in f32. Large depthwise kernels stay as they came: their weights' gradient alone
costs as much as the rest of the block.

B is the batch size, C channels, H' and W' the sides of a map.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.ml import compat

_LEARNT_KERNEL_PX = 3  # the largest depthwise kernel whose weights learn


def freeze_costly(block: nn.Module) -> None:
    """Keep large depthwise kernels and the norms behind them, whose gradients torch takes from the kernels' own."""
    if not _is_inverted_residual(block):
        return
    conv, norm = _stages(block)[1]
    if max(conv.kernel_size) > _LEARNT_KERNEL_PX:
        conv.requires_grad_(False)
        norm.requires_grad_(False)


def run_folded(block: nn.Module, x: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return what a block says of a map (B, C, H', W') in f32, its norms in evaluation mode.

    Args:
        block: Any; what has no inverted bottleneck is simply called.
        x: f32.
        dtype: Of the convolutions of one place.
    """
    if not _is_inverted_residual(block):
        return block(x)  # type: ignore[no-any-return]
    widen, filters, narrow = _stages(block)
    y = _convolved(*widen, x, dtype)
    y = _convolved(*filters, y, torch.float32)
    y = _convolved(*narrow, y, dtype).float()
    return x + y if block.has_skip else y


def _is_inverted_residual(block: nn.Module) -> bool:
    # By name: importing timm takes a second, which trainings without it need not wait for.
    return type(block).__name__ == "InvertedResidual"


def _stages(block: Any) -> tuple[tuple[Any, Any], ...]:
    return (block.conv_pw, block.bn1), (block.conv_dw, block.bn2), (block.conv_pwl, block.bn3)


def _convolved(conv: Any, norm: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * factor.view(-1, 1, 1, 1)).to(dtype)
    bias = (norm.bias - norm.running_mean * factor).to(dtype)
    convolve = _same_padded() if type(conv).__name__ == "Conv2dSame" else F.conv2d
    return norm.act(convolve(x.to(dtype), weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups))  # type: ignore[no-any-return]


def _same_padded() -> Any:
    compat.import_timm()
    from timm.layers.conv2d_same import conv2d_same

    return conv2d_same
