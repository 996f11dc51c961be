import pytest

from app.catalog import BACKBONES, HEADS, SYMMETRIES, IncompatibleChoice, UnknownChoice, check
from app.catalog.backbones import AUTO_BACKBONES
from app.catalog.symmetries import AUTO_SYMMETRIES
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import TaskType


def test_the_one_click_training_is_fine():
    check(TrainSpec(), TaskType.CLASSIFICATION)


@pytest.mark.parametrize("field", ["backbone", "method", "head", "symmetry"])
def test_unknown_names_are_refused_with_their_field(field):
    with pytest.raises(UnknownChoice) as refused:
        check(TrainSpec(**{field: "nothing"}), TaskType.CLASSIFICATION)
    assert refused.value.errors[0]["pointer"] == f"/{field}"


def test_a_head_for_another_task_is_refused():
    with pytest.raises(IncompatibleChoice):
        check(TrainSpec(head="linear"), TaskType.SEGMENTATION)


def test_what_auto_compares_exists_and_is_cheapest_first():
    assert [BACKBONES[name].macs_m for name in AUTO_BACKBONES] == sorted(BACKBONES[n].macs_m for n in AUTO_BACKBONES)
    assert not any(BACKBONES[name].is_for_tests for name in AUTO_BACKBONES)
    assert AUTO_SYMMETRIES[0] == "identity"
    assert set(AUTO_SYMMETRIES) <= set(SYMMETRIES)
    assert all(card.views[0].index == 0 for card in SYMMETRIES.values())
    assert all(card.methods for card in HEADS.values())
