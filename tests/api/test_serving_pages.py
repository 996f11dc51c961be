"""The Deploy and Monitor screens, and the way from the history back into the data."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, func, select

from app.accounts.permissions import Actor, Role
from app.core.clock import utc_now
from app.db.session import get_engine, new_session, transaction
from app.db.tables import ApiKey, Deployment, Image, ImageTag, InferenceRecord, Tag
from app.serving import access, predict, predictor, queries, recording
from app.serving import service as serving_service
from app.serving.filters import HistoryFilter
from tests import factories, model_support
from tests.serving_support import Served

PARTIAL = {"HX-Request-Type": "partial", "HX-Request": "true"}
PICTURE = model_support.part_picture(900, "scratch")


@pytest.fixture
def deploy(served: Served) -> str:
    return f"/projects/{served.project.id}/deploy"


@pytest.fixture
def page(served: Served, deploy: str) -> str:
    return f"{deploy}/{served.deployment.id}"


@pytest.fixture
def monitor(served: Served) -> str:
    return f"/projects/{served.project.id}/monitor"


def add_calls(served: Served, n_calls: int, *, hours: float = 24.0) -> None:
    """Record calls evenly over the last `hours`, every third of a good part, at stations S0 and S1 in turn."""
    with new_session() as session:
        endpoint = access.find_endpoint(session, served.actor, served.deployment.id)
    model = predictor.open_model(endpoint.bundle_key)
    pictures = [model_support.part_picture(seed, "scratch" if seed % 3 else None) for seed in range(min(n_calls, 12))]
    predictions = model.predict(pictures, threshold=endpoint.threshold)
    for number in range(n_calls):
        call = predict.to_record(
            endpoint,
            predictions[number % 12],
            picture=pictures[number % 12],
            latency_ms=10.0 + number,
            source="api",
            metadata={"inspection_station_id": f"S{number % 2}"},
        )
        recording.recorder().add(replace(call, at=utc_now() - timedelta(hours=hours * (1 - number / n_calls))))
    assert recording.recorder().flush()


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            statements.append(statement)

    event.listen(get_engine(), "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(get_engine(), "before_cursor_execute", note)


# --- endpoints -------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_made_from_the_form_prefilled_by_a_models_page(browser: TestClient, served: Served, deploy: str):
    form = browser.get(f"{deploy}/new?model={served.model.id}&threshold=0.37")
    assert form.status_code == 200
    assert 'value="0.37"' in form.text
    assert f'value="{served.model.id}" selected' in form.text
    made = browser.post(deploy, data={"name": "Line 4", "model": str(served.model.id), "threshold": "0.37"})
    assert made.status_code == 303
    shown = browser.get(made.headers["location"])
    assert "Line 4" in shown.text
    assert "0.37" in shown.text
    assert "Line 4" in browser.get(deploy).text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": ""}, "name of up to 80"),
        ({"name": "x", "model": ""}, "no such model"),
        ({"name": "x", "threshold": "7"}, "between 0 and 1"),
    ],
)
def test_a_form_that_is_not_right_comes_back_with_the_reason(
    browser: TestClient, served: Served, deploy: str, data: dict, message: str
):
    form = {"threshold": "0.5", "model": str(served.model.id), **data}
    answer = browser.post(deploy, data=form)
    assert answer.status_code == 422
    assert message in answer.text


def test_changing_the_model_in_the_form_brings_its_threshold(
    browser: TestClient, served: Served, deploy: str, tmp_path: Path
):
    other = model_support.train_model(served.project, served.actor, tmp_path / "b", name="B", threshold=0.21)
    field = browser.get(f"{deploy}/threshold?model={other.id}", headers=PARTIAL)
    assert 'value="0.21"' in field.text
    assert browser.get(f"{deploy}/threshold?model={served.deployment.id}", headers=PARTIAL).status_code == 404


def test_an_endpoint_is_changed_paused_resumed_and_deleted(browser: TestClient, served: Served, deploy: str, page: str):
    data = {"name": "Renamed", "model": str(served.model.id), "threshold": "0.66"}
    assert browser.post(f"{page}/change", data=data).status_code == 303
    assert browser.post(f"{page}/change", data={**data, "threshold": "3"}).status_code == 422
    assert browser.post(f"{page}/pause").status_code == 303
    assert "Paused" in browser.get(page).text
    assert browser.post(f"{page}/resume").status_code == 303
    with new_session() as session:
        row = session.get(Deployment, served.deployment.id)
        assert (row.name, row.threshold, row.is_active) == ("Renamed", 0.66, True)
    assert browser.post(f"{page}/delete").headers["location"] == deploy
    assert browser.get(page).status_code == 404


def test_a_key_is_shown_once_in_the_snippets_too_and_can_be_revoked(browser: TestClient, served: Served, page: str):
    assert "YOUR_API_KEY" in browser.get(page).text
    made = browser.post(f"{page}/keys", data={"name": "PLC 7"}, headers=PARTIAL)
    assert "<html" not in made.text
    key = re.search(r"land_sk_[\w-]+", made.text)[0]
    assert made.text.count(key) >= 5  # shown once, and in each of four snippets
    again = browser.get(page).text
    assert key not in again
    assert f"…{key[-4:]}" in again
    with new_session() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.name == "PLC 7")).one()
        assert row.deployment_id == served.deployment.id
        assert row.role == Role.VIEWER
    assert browser.post(f"{page}/keys/{row.id}/revoke").status_code == 200
    assert f"…{key[-4:]}" not in browser.get(page).text
    assert browser.post(f"{page}/keys/{served.deployment.id}/revoke").status_code == 404


def test_a_key_of_another_endpoint_cannot_be_revoked_here(browser: TestClient, served: Served, page: str):
    with new_session() as session:
        key_id = session.scalars(select(ApiKey.id)).one()
    assert browser.post(f"{page}/keys/{key_id}/revoke").status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.LABELER])
def test_who_may_not_deploy_sees_and_tries_but_changes_nothing(
    role: Role,
    browser_as: Callable[[Actor], TestClient],
    people: dict[Role, Actor],
    served: Served,
    page: str,
    deploy: str,
):
    client = browser_as(people[role])
    shown = client.get(page).text
    assert "Make a key" not in shown
    assert "Delete" not in shown
    assert "New endpoint" not in client.get(deploy).text
    assert client.get(f"{deploy}/new").status_code == 403
    for path in ("change", "pause", "resume", "delete", "keys"):
        assert client.post(f"{page}/{path}", data={"name": "x", "model": "x", "threshold": 1}).status_code == 403
    assert client.post(f"{page}/try", files={"file": ("a.png", PICTURE)}, headers=PARTIAL).status_code == 200


def test_try_answers_with_scores_and_heat_map_and_is_recorded(browser: TestClient, served: Served, page: str):
    answer = browser.post(f"{page}/try", files={"file": ("a.png", PICTURE)}, headers=PARTIAL)
    assert answer.status_code == 200
    assert answer.text.count("data:image/webp;base64,") == 1
    assert "data:image/png;base64," in answer.text
    assert "speaks more for “scratch”" in answer.text
    assert "NG score" in answer.text
    assert recording.recorder().flush()
    with new_session() as session:
        assert session.scalars(select(InferenceRecord.source)).all() == ["try"]


@pytest.mark.parametrize("content", [b"", b"<svg/>", PICTURE[:100]])
def test_try_says_what_is_wrong_with_a_picture(browser: TestClient, page: str, content: bytes):
    answer = browser.post(f"{page}/try", files={"file": ("a.png", content)}, headers=PARTIAL)
    assert answer.status_code == 415
    assert "No answer for this picture" in answer.text
    assert "HX-Retarget" not in answer.headers


def test_a_page_of_another_project_is_unknown(browser: TestClient, served: Served):
    other = factories.make_project(served.actor, "Other")
    for path in (f"deploy/{served.deployment.id}", "deploy", "monitor"):
        assert browser.get(f"/projects/{other.id}/{path}").status_code == (404 if path.startswith("deploy/") else 200)
    files = {"file": ("a.png", PICTURE)}
    assert browser.post(f"/projects/{other.id}/deploy/{served.deployment.id}/try", files=files).status_code == 404


# --- history ---------------------------------------------------------------------------------------------------------


def test_the_history_pages_by_key_and_misses_nothing(browser: TestClient, served: Served, monitor: str):
    add_calls(served, queries.PAGE_SIZE * 2 + 5)
    seen: list[str] = []
    address, headers = monitor, {}
    while address:
        text = browser.get(address, headers=headers).text
        seen += re.findall(r'id="call-(\d+)"', text)
        more = re.search(r'hx-get="([^"]*cursor=[^"]*)"', text)
        address, headers = (more[1].replace("&amp;", "&") if more else ""), PARTIAL
    assert len(seen) == len(set(seen)) == queries.PAGE_SIZE * 2 + 5
    assert [int(id_) for id_ in seen] == sorted(map(int, seen), reverse=True)


def test_the_history_is_filtered(browser: TestClient, served: Served, monitor: str):
    add_calls(served, 24)
    with new_session() as session:
        rows = list(session.scalars(select(InferenceRecord)))
    expected = {
        "class=scratch": sum(row.category_name == "scratch" for row in rows),
        "answer=ng": sum(row.ng_score >= row.threshold for row in rows),
        "answer=ok": sum(row.ng_score < row.threshold for row in rows),
        "answer=unsure": 0,
        "low=0.9": sum(row.ng_score >= 0.9 for row in rows),
        "high=0.1": sum(row.ng_score <= 0.1 for row in rows),
        "station=S1": 12,
        "station=S9": 0,
        f"endpoint={served.deployment.id}": 24,
        "endpoint=59eff733-1dcd-4ace-b104-9041c745f1da": 0,
        "period=all": 24,
        f"until={utc_now() - timedelta(days=3):%Y-%m-%d}": 0,
        f"since={utc_now() - timedelta(days=3):%Y-%m-%d}": 24,
    }
    for query, n_rows in expected.items():
        answer = browser.get(f"{monitor}?{query}")
        assert answer.status_code == 200
        assert len(re.findall(r'id="call-\d+"', answer.text)) == n_rows, query


def test_a_filter_that_cannot_be_read_is_said_on_the_page(browser: TestClient, monitor: str):
    answer = browser.get(f"{monitor}?low=lots")
    assert answer.status_code == 422
    assert "cannot be read" in answer.text


@pytest.mark.parametrize(
    ("period", "n_buckets"), [("day", {24, 25}), ("week", {7, 8}), ("month", {30, 31}), ("all", {1})]
)
def test_the_figures_count_every_call_once_in_time_and_in_score(served: Served, period: str, n_buckets: set[int]):
    add_calls(served, 24, hours=20)
    with new_session() as session:
        figures = queries.history_figures(session, [served.deployment.id], HistoryFilter(period=period))
    assert figures.n_calls == 24
    assert sum(sum(counts) for _, *counts in figures.buckets) == 24
    assert sum(sum(counts) for _, *counts in figures.bins) == 24
    assert len(figures.bins) == queries.N_BINS
    assert len(figures.buckets) in n_buckets | ({2} if period == "all" else set())


def test_the_figures_put_each_score_into_its_bin(served: Served):
    add_calls(served, 12)
    with new_session() as session:
        figures = queries.history_figures(session, [served.deployment.id], HistoryFilter())
        scores = list(session.scalars(select(InferenceRecord.ng_score)))
    expected = [0] * queries.N_BINS
    for score in scores:
        expected[min(queries.N_BINS - 1, int(score * queries.N_BINS))] += 1
    assert [sum(counts) for _, *counts in figures.bins] == expected


def test_traffic_counts_a_day_and_takes_quantiles(served: Served):
    add_calls(served, 100, hours=48)
    with new_session() as session:
        traffic = queries.traffic(session, [served.deployment.id])[served.deployment.id]
    assert traffic.n_day in {49, 50}
    assert (traffic.p50_ms, traffic.p99_ms) == (59.0, 108.0)


def test_pictures_of_calls_are_drawn_anew_and_guarded(browser: TestClient, served: Served, monitor: str):
    add_calls(served, 1)
    with new_session() as session:
        call_id = session.scalars(select(InferenceRecord.id)).one()
    for size in ("small", "large"):
        answer = browser.get(f"{monitor}/calls/{call_id}/picture?size={size}")
        assert answer.headers["content-type"] == "image/webp"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.content[:4] == b"RIFF"
    other = factories.make_project(served.actor, "Other")
    assert browser.get(f"/projects/{other.id}/monitor/calls/{call_id}/picture").status_code == 404


def test_chosen_calls_become_images_once_with_the_endpoints_tag(browser: TestClient, served: Served, monitor: str):
    add_calls(served, 14)  # the last two show the pictures of the first two again
    with new_session() as session:
        ids = list(session.scalars(select(InferenceRecord.id).order_by(InferenceRecord.id)))
        before = session.scalar(select(func.count(Image.id)))
    data = {"call_id": [*ids[2:5], ids[0], ids[12]]}
    answer = browser.post(f"{monitor}/collect", data=data, headers=PARTIAL)
    assert answer.status_code == 200
    assert "images added" in answer.text
    with new_session() as session:
        images = list(session.scalars(select(Image).order_by(Image.id.desc())))
        n_new = len(images) - before
        links = dict(session.execute(select(InferenceRecord.id, InferenceRecord.image_id)).all())
        tagged = session.scalar(
            select(func.count())
            .select_from(ImageTag)
            .join(Tag, Tag.id == ImageTag.tag_id)
            .where(Tag.name == "from Line 3")
        )
        assert links[ids[0]] == links[ids[12]] is not None
        assert tagged == n_new
        assert not any(image.is_labelled for image in images[:n_new])
    again = browser.post(f"{monitor}/collect", data=data, headers=PARTIAL)
    assert "0 images added" in again.text
    assert "5 pictures were in the project already" in again.text
    assert f"Image {links[ids[0]]}" in browser.get(monitor).text


def test_answers_become_labels_only_when_asked_for(browser: TestClient, served: Served, monitor: str):
    picture = model_support.part_picture(12345, "scratch")
    browser.post(f"/projects/{served.project.id}/deploy/{served.deployment.id}/try", files={"file": ("a", picture)})
    assert recording.recorder().flush()
    with new_session() as session:
        call = session.scalars(select(InferenceRecord)).one()
    browser.post(f"{monitor}/collect", data={"call_id": [call.id], "with_answers": "true"})
    with new_session() as session:
        image = session.get(Image, session.get(InferenceRecord, call.id).image_id)
        assert image.is_labelled
        assert image.category_id == call.category_id


def test_choosing_nothing_or_too_much_is_said(browser: TestClient, monitor: str):
    assert browser.post(f"{monitor}/collect", headers=PARTIAL).status_code == 422
    many = browser.post(f"{monitor}/collect", data={"call_id": list(range(1, 502))}, headers=PARTIAL)
    assert many.status_code == 422
    assert "up to 500" in many.text


def test_a_call_without_picture_is_refused_by_name(browser: TestClient, served: Served, monitor: str):
    add_calls(served, 1)
    with transaction() as session:
        call = session.scalars(select(InferenceRecord)).one()
        call.blob_key = None
    assert "not kept" in browser.post(f"{monitor}/collect", data={"call_id": [call.id]}, headers=PARTIAL).text


def test_calls_of_another_project_cannot_be_taken(browser: TestClient, served: Served):
    add_calls(served, 1)
    other = factories.make_project(served.actor, "Other")
    with new_session() as session:
        call_id = session.scalars(select(InferenceRecord.id)).one()
    answer = browser.post(f"/projects/{other.id}/monitor/collect", data={"call_id": [call_id]}, headers=PARTIAL)
    assert "0 images added" in answer.text


def test_a_viewer_sees_the_history_and_takes_nothing(
    browser_as: Callable[[Actor], TestClient], people: dict[Role, Actor], served: Served, monitor: str
):
    add_calls(served, 2)
    client = browser_as(people[Role.VIEWER])
    assert "Add to dataset" not in client.get(monitor).text
    assert client.post(f"{monitor}/collect", data={"call_id": [1]}).status_code == 403


def test_the_history_of_a_deleted_endpoint_stays(browser: TestClient, served: Served, monitor: str):
    add_calls(served, 3)
    with transaction() as session:
        serving_service.delete_deployment(
            session, actor=served.actor, project_id=served.project.id, deployment_id=served.deployment.id
        )
    text = browser.get(monitor).text
    assert "Line 3 (deleted)" in text
    assert len(re.findall(r'id="call-\d+"', text)) == 3


def test_empty_screens_say_what_to_do(browser: TestClient, served: Served, deploy: str, monitor: str):
    empty = factories.make_project(served.actor, "Empty")
    assert "Go to Train" in browser.get(f"/projects/{empty.id}/deploy").text
    assert "Go to Train" in browser.get(f"/projects/{empty.id}/deploy/new").text
    assert "Nothing to watch yet" in browser.get(f"/projects/{empty.id}/monitor").text
    assert "No calls in the last 7 days" in browser.get(monitor).text
    assert "No call fits this filter" in browser.get(f"{monitor}?station=S1").text


def test_the_main_pages_ask_at_most_three_questions_beyond_who_asks(
    browser: TestClient, served: Served, deploy: str, page: str, monitor: str
):
    add_calls(served, 5)
    for address in (deploy, page, monitor):
        with counted_statements() as statements:
            assert browser.get(address).status_code == 200
        asked = [statement for statement in statements if "user_session" not in statement]
        assert len(asked) <= 3, asked
