"""The loop on a small regression, with a norm and dropout so that every kind of state counts."""

import numpy as np
import pytest
import torch
from torch import nn

from worker.ml.data.torch_part import has_cuda
from worker.ml.heads.assignment import Truth
from worker.ml.training import place as place_module
from worker.ml.training.loop import Loop, LoopSettings, RateGroup, freeze_norms, rate_at
from worker.ml.training.place import Place, device_of, learning_precision, moved, place_of

pytestmark = pytest.mark.usefixtures("one_thread")

_IMAGES = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(1))
_WANTED = _IMAGES.mean((1, 2, 3)) * 4


class Killed(Exception):
    pass


def make_net():
    torch.manual_seed(7)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    return net.to(memory_format=torch.channels_last)


def batches(_epoch, generator):
    for indices in np.array_split(generator.permutation(48), 6):
        yield torch.from_numpy(indices)


def loss_of(module, indices):
    return (module(_IMAGES[indices]).squeeze(1) - _WANTED[indices]).square().mean()


def score_of(module):
    return -(module(_IMAGES).squeeze(1) - _WANTED).square().mean().item()


def make_loop(directory, *, net=None, key="k", score=score_of, **settings):
    net = net or make_net()
    chosen = LoopSettings(**{"n_epochs": 4, "learning_rate": 1e-2, **settings})
    groups = [RateGroup(list(net[3].parameters())), RateGroup(list(net[0].parameters()), 0.3)]
    return Loop(
        net,
        groups=groups,
        n_steps=6,
        batches=batches,
        loss=loss_of,
        score=score,
        settings=chosen,
        directory=directory,
        key=key,
    )


def weights(loop):
    return torch.cat([value.flatten().double() for value in loop.module.state_dict().values()])


def test_learns_and_keeps_the_best_averaged_weights(tmp_path):
    loop = make_loop(tmp_path, n_epochs=12)
    before = score_of(loop.module.eval())
    history = loop.run()
    assert history.best_score > before / 4
    assert score_of(loop.module) == pytest.approx(history.best_score)
    assert history.best_score == max(epoch.score for epoch in history.epochs)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path):
    first, second, other = (make_loop(tmp_path / name, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    for loop in (first, second, other):
        loop.run()
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("killed_at", [1, 7, 13, 20])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, killed_at):
    whole = make_loop(tmp_path / "whole")
    whole.run()
    n_seen = 0

    def kill(_step):
        nonlocal n_seen
        n_seen += 1
        if n_seen == killed_at:
            raise Killed

    with pytest.raises(Killed):
        make_loop(tmp_path / "cut").run(on_step=kill)
    resumed, said = make_loop(tmp_path / "cut"), []
    resumed.run(on_epoch=said.append)
    assert torch.equal(weights(whole), weights(resumed))
    assert [epoch.epoch for epoch in said] == [1, 2, 3, 4]
    assert [epoch.score for epoch in said] == [epoch.score for epoch in whole.history.epochs]


def test_a_stop_is_heard_at_the_next_step_and_after_an_epoch(tmp_path):
    heard = []

    def stop(step):
        heard.append(step)
        if step.step == 2:
            raise Killed

    with pytest.raises(Killed):
        make_loop(tmp_path).run(on_step=stop)
    assert len(heard) == 2
    assert heard[-1].share == pytest.approx(2 / 24)


def test_a_finished_training_is_not_done_again(tmp_path):
    first = make_loop(tmp_path)
    first.run()
    again = make_loop(tmp_path)
    again.run(on_step=lambda _step: pytest.fail("there was nothing left to do"))
    assert torch.equal(weights(first), weights(again))


def test_a_checkpoint_of_something_else_or_cut_short_is_not_used(tmp_path):
    make_loop(tmp_path, n_epochs=1).run()
    other = make_loop(tmp_path, key="other", n_epochs=1)
    steps = []
    other.run(on_step=steps.append)
    assert len(steps) == 6
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    make_loop(tmp_path, key="other", n_epochs=1).run(on_step=steps.append)
    assert len(steps) == 12


def test_stops_once_dev_does_not_improve(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9, 1.0])
    loop = make_loop(tmp_path, n_epochs=6, patience=2, score=lambda _module: next(scores))
    history = loop.run()
    assert (len(history.epochs), history.best_epoch, history.best_score) == (4, 2, 0.5)


def test_without_dev_the_last_averaged_weights_are_taken(tmp_path):
    loop = make_loop(tmp_path, score=None, n_epochs=2, patience=1)
    assert [epoch.score for epoch in loop.run().epochs] == [None, None]


def test_what_is_in_no_group_stays_and_frozen_norms_keep_their_statistics(tmp_path):
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    loop = Loop(
        net,
        groups=[RateGroup(list(net[3].parameters()))],
        n_steps=6,
        batches=batches,
        loss=loss_of,
        settings=LoopSettings(n_epochs=1),
        directory=tmp_path,
        key="k",
        prepare=freeze_norms,
    )
    loop.run()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    net = make_net()
    net[3].weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 1"):
        make_loop(tmp_path, net=net).run()


def test_bf16_learns_too(tmp_path):
    history = make_loop(tmp_path, precision="bf16").run()
    assert all(np.isfinite(epoch.loss) for epoch in history.epochs)


def test_the_rate_climbs_then_falls_along_a_cosine():
    settings = LoopSettings(n_epochs=1, learning_rate=1.0, warmup_steps=10, final_share=0.1)
    rates = [rate_at(index, 110, settings) for index in range(110)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


PLACES = [
    Place(torch.device("cpu"), torch.float16),  # as a GPU without bf16 learns: with a scaled loss
    Place(torch.device("cpu"), torch.bfloat16),
    pytest.param(Place(torch.device("cuda"), torch.float16), marks=pytest.mark.gpu),
    pytest.param(Place(torch.device("cuda"), torch.bfloat16), marks=pytest.mark.gpu),
]


def loop_at(place, directory):
    def loss(module, batch):
        images, wanted = batch
        assert images.device.type == wanted.device.type == place.device.type
        return (module(images).float().squeeze(1) - wanted).square().mean()

    def some(epoch, generator):
        return ((_IMAGES[indices], _WANTED[indices]) for indices in batches(epoch, generator))

    def score(module):
        assert device_of(module).type == place.device.type
        images, wanted = moved((_IMAGES, _WANTED), place.device)
        return -(module(images).float().squeeze(1) - wanted).square().mean().item()

    net = make_net()
    return Loop(
        net,
        groups=[RateGroup(list(net.parameters()))],
        n_steps=6,
        batches=some,
        loss=loss,
        score=score,
        settings=LoopSettings(n_epochs=3, learning_rate=1e-2),
        directory=directory,
        key="k",
        place=place,
    )


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.device.type} {place.dtype}")
def test_mixed_precision_learns_and_goes_on_to_the_same_weights_wherever_it_is_kept(tmp_path, place):
    if place.device.type == "cuda" and not has_cuda():
        pytest.skip("torch sees no CUDA device")
    whole = loop_at(place, tmp_path / "whole")
    history = whole.run()
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert device_of(whole.module).type == "cpu"

    def kill(step):
        if step.epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        loop_at(place, tmp_path / "cut").run(on_step=kill)
    resumed = loop_at(place, tmp_path / "cut")
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


def test_a_checkpoint_of_one_device_is_read_on_another(tmp_path):
    elsewhere = Place(torch.device("cuda" if has_cuda() else "cpu"), torch.float16)

    def kill(step):
        if step.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        loop_at(elsewhere, tmp_path).run(on_step=kill)
    said = []
    loop_at(Place(torch.device("cpu")), tmp_path).run(on_step=said.append)
    assert [step.epoch for step in said] == [2] * 6 + [3] * 6


def test_a_gpu_is_taken_where_there_is_one_in_the_shortest_type_that_it_knows(monkeypatch):
    monkeypatch.setattr(place_module, "has_cuda", lambda: False)
    assert place_of("f32") == Place(torch.device("cpu"))
    assert place_of("bf16") == Place(torch.device("cpu"), torch.bfloat16)
    monkeypatch.setattr(place_module, "has_cuda", lambda: True)
    for knows, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda knows=knows: knows)
        assert place_of("bf16") == Place(torch.device("cuda"), dtype)
    assert place_of("f32") == Place(torch.device("cuda"))
    assert learning_precision("bf16") == "bf16"


def test_whatever_holds_tensors_is_moved():
    truth = Truth(torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))
    maps, (found, name) = moved(([torch.zeros(2)], (truth, "a name")), torch.device("meta"))
    assert [one.device.type for one in (maps[0], found.boxes, found.labels, found.is_real)] == ["meta"] * 4
    assert name == "a name"
