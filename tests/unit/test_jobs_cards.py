"""What a card shows, from what a job said."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import ValidationError

from app.contracts.jobs import (
    Augmentations,
    Comparison,
    ComparisonRow,
    JobEventPayload,
    LogLine,
    MetricPoint,
    Progress,
    TrainSpec,
)
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.datasets.readiness import DatasetNotReady, check_enough
from app.db.tables import Category, JobEvent
from app.jobs.cards import make_card
from app.jobs.events import _KINDS
from app.jobs.schemas import JobRow, TrainForm
from app.jobs.wire import TrainItem, status_of

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def row(state: str = "running", **values: object) -> JobRow:
    known = {
        "id": uuid4(),
        "spec": TrainSpec(),
        "project_id": 1,
        "task": TaskType.CLASSIFICATION,
        "title": "Training",
        "state": state,
        "is_terminal": state in {"succeeded", "failed", "cancelled"},
        "can_cancel": state in {"queued", "running"},
        "fraction": 0.5,
        "stage": "Fitting",
        "message": "",
        "error_id": None,
        "n_images": 100,
        "version_number": 1,
        "n_attempts": 1,
        "created_at": START,
        "started_at": START,
        "ended_at": None,
        "created_by": None,
        "seconds": None,
        "model_id": None,
        "model_name": None,
    }
    return JobRow(**known | values)


def said(*payloads: tuple[float, JobEventPayload]) -> list[JobEvent]:
    return [
        JobEvent(
            id=number,
            at=START + timedelta(seconds=at),
            kind=_KINDS[type(payload)],
            payload=payload.model_dump(mode="json"),
        )
        for number, (at, payload) in enumerate(payloads, 1)
    ]


def card(job: JobRow, *payloads: tuple[float, JobEventPayload], now_s: float = 30):
    return make_card(job, said(*payloads), now=START + timedelta(seconds=now_s), expected_s=None)


def begin(stage: str) -> Progress:
    return Progress(stage=stage, fraction=0)


def test_stages_have_times_and_the_rest_of_the_line_follows() -> None:
    stages = card(row(), (0, begin("Starting")), (2, begin("Comparison")), (12, begin("Features"))).stages
    assert [(step.name, step.where, step.seconds) for step in stages] == [
        ("Starting", "done", 2.0),
        ("Comparison", "done", 10.0),
        ("Features", "now", 18.0),
        ("Fitting", "next", None),
        ("Evaluation", "next", None),
        ("Publishing", "next", None),
    ]


def test_a_second_attempt_shows_its_own_stages_only() -> None:
    stages = card(row(), (0, begin("Starting")), (2, begin("Features")), (20, begin("Starting"))).stages
    assert [(step.name, step.where) for step in stages][:2] == [("Starting", "now"), ("Comparison", "next")]


def test_a_failed_stage_is_the_last_one_and_nothing_follows() -> None:
    ended = row("failed", ended_at=START + timedelta(seconds=5))
    stages = card(ended, (0, begin("Starting")), (2, begin("Features"))).stages
    assert [(step.name, step.where, step.seconds) for step in stages] == [
        ("Starting", "done", 2.0),
        ("Features", "failed", 3.0),
    ]


def test_a_stage_of_another_kind_of_job_is_shown_as_it_is() -> None:
    stages = card(row(), (0, begin("Starting")), (1, begin("Warming up"))).stages
    assert stages[1].name == "Warming up"


def test_curves_take_the_last_word_at_each_place() -> None:
    points = [MetricPoint(name="auroc_by_share_of_labels", x=x, y=y) for x, y in ((0.5, 0.7), (1, 0.8), (0.5, 0.75))]
    (curve,) = card(row(), *((1, point) for point in points)).curves
    assert curve.series[0]["points"] == [(0.5, 0.75), (1, 0.8)]
    assert curve.y_range[1] <= 1
    assert card(row(), (1, points[0])).curves == ()  # one point is no curve


def test_one_table_for_each_choice() -> None:
    def table(reason: str) -> Comparison:
        rows = (ComparisonRow(id="a", name="A", score=0.9),)
        return Comparison(what="backbone", metric="auroc", n_images=4, n_folds=2, reason=reason, rows=rows)

    (kept,) = card(row(), (1, table("first")), (2, table("second"))).tables
    assert kept.reason == "second"


def test_time_left_is_said_only_while_it_runs() -> None:
    assert card(row(), now_s=30).left == "about 30 seconds left"
    assert card(row("queued")).left is None
    assert card(row("succeeded")).left is None


def test_the_log_keeps_its_order_and_levels() -> None:
    log = card(row(), (1, LogLine(text="a")), (2, LogLine(text="b", level="warning"))).log
    assert [(line.text, line.level) for line in log] == [("a", "info"), ("b", "warning")]


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ((2, 2), None),
        ((5,), "at least two classes apart"),
        ((0, 0), "No image has a label yet. Label at least 2 of each class."),
        ((5, 1), "“class 1” (1)."),
        ((5, 0), "“class 1” (0)."),
        ((0, 1), "“class 0” (0), “class 1” (1)."),
        ((1, 1, 1, 1, 1, 1, 1), "and 2 more"),
    ],
)
def test_what_is_missing_is_said(counts: tuple[int, ...], problem: str | None) -> None:
    classes = [Category(id=index, name=f"class {index}", is_good=False) for index in range(len(counts))]
    if problem is None:
        check_enough(TaskType.CLASSIFICATION, classes, dict(enumerate(counts)))
        return
    with pytest.raises(DatasetNotReady) as caught:
        check_enough(TaskType.CLASSIFICATION, classes, dict(enumerate(counts)))
    assert problem in caught.value.detail


def test_an_untouched_form_is_the_one_click_training() -> None:
    blank = TrainForm.model_validate({"name": " ", "image_size_px": "", "seed": "", "time_budget_min": ""})
    assert blank.to_spec(TaskType.DETECTION) == TrainSpec()
    assert TrainItem().to_spec() == (TrainSpec(), [])


def test_amounts_of_the_form_are_shares_of_the_contract_and_the_others_stay_the_tasks_own() -> None:
    form = TrainForm.model_validate({"zoom": "10", "rotation_deg": "0", "blur_px": "1.5", "noise": " "})
    amounts = form.to_spec(TaskType.SEGMENTATION).augmentations
    assert amounts == Augmentations(zoom=0.1, rotation_deg=0, blur_px=1.5)
    assert TrainForm(noise=2).augmentations(TaskType.SEGMENTATION) == Augmentations(rotation_deg=12, noise=2)
    for field in Augmentations.model_fields:
        with pytest.raises(ValidationError):
            TrainForm.model_validate({field: "101"})


def test_sizes_of_the_contract_are_checked() -> None:
    for values in ({"height": 8, "width": 8}, {"height": 256}, {"height": "256", "width": 256}, {"height": True}):
        item = TrainItem.model_validate({"transforms": {"preprocessing": [{"resize": values}]}})
        with pytest.raises(Invalid):
            item.to_spec()


def test_each_state_and_stage_has_a_word_of_the_contract() -> None:
    assert status_of(row("queued")) == "CREATED"
    assert status_of(row(stage="Starting")) == "STARTING"
    assert status_of(row(stage="Evaluation")) == "EVALUATING"
    assert status_of(row("cancelled")) == "FAILED"
