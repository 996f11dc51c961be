"""Blocks with their norms folded in say the same, and learn the same, as block by block."""

import pytest
import torch

from worker.ml import compat
from worker.ml.backbones.folded import freeze_costly, run_folded

pytestmark = pytest.mark.usefixtures("one_thread")


def made(kernel_px=3, stride=1):
    compat.import_timm()
    from timm.models._efficientnet_blocks import InvertedResidual

    torch.manual_seed(3)
    block = InvertedResidual(8, 8, dw_kernel_size=kernel_px, stride=stride, pad_type="same", exp_ratio=3.0)
    for norm in (block.bn1, block.bn2, block.bn3):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return block.eval()


def map_of(side_px=9):
    return torch.randn(2, 8, side_px, side_px, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kernel_px", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_folding_changes_no_answer(kernel_px, stride):
    block, x = made(kernel_px, stride), map_of()
    assert torch.allclose(run_folded(block, x, dtype=torch.float32), block(x), atol=1e-4)
    rough = run_folded(block, x, dtype=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert (rough - block(x)).abs().mean() < 0.02 * block(x).abs().mean() + 0.02


def test_folding_changes_no_gradient():
    block, x = made(), map_of()
    answers = (block(x), run_folded(block, x, dtype=torch.float32))
    gradients = [torch.autograd.grad(answer.square().sum(), list(block.parameters())) for answer in answers]
    for plain, folded in zip(*gradients, strict=True):
        assert torch.allclose(plain, folded, rtol=1e-3, atol=1e-2)


def test_large_depthwise_kernels_stay_as_they_came():
    small, large = made(3), made(5)
    for block in (small, large):
        freeze_costly(block)
    assert all(parameter.requires_grad for parameter in small.parameters())
    kept = {name for name, parameter in large.named_parameters() if not parameter.requires_grad}
    assert kept == {"conv_dw.weight", "bn2.weight", "bn2.bias"}


def test_what_is_no_such_block_is_called_as_it_is():
    layer = torch.nn.Conv2d(8, 4, 1)
    freeze_costly(layer)
    assert torch.equal(run_folded(layer, map_of(), dtype=torch.bfloat16), layer(map_of()))
