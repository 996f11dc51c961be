"""The prediction route, as programs of every kind meet it."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts import service as account_service
from app.accounts.permissions import Actor, Role
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import ApiKey, InferenceRecord, Project
from app.serving import predict, predictor, recording
from app.serving import service as serving_service
from app.serving.limits import RateLimit
from app.settings import get_settings
from app.storage.current import blobs
from tests import factories, model_support, serving_support
from tests.serving_support import Served


@pytest.fixture
def client(anonymous: TestClient, served: Served) -> TestClient:
    anonymous.headers["apikey"] = served.key
    return anonymous


PICTURE = model_support.part_picture(900, "scratch")


def records() -> list[InferenceRecord]:
    """Return the history, once everything queued is written."""
    assert recording.recorder().flush()
    with new_session() as session:
        return list(session.scalars(select(InferenceRecord).order_by(InferenceRecord.id)))


def send(client: TestClient, served: Served, content: bytes = PICTURE, **data: str):
    return client.post(served.path, files={"file": ("file", content)}, data=data)


def test_the_answer_has_the_shape_that_the_clients_read(client: TestClient, served: Served):
    answer = send(client, served)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["backbonetype"] is None
    assert body["backbonepredictions"] is None
    assert body["type"] == "ClassificationPrediction"
    assert body["model_id"] == str(served.model.id)
    assert set(body["predictions"]) == {"score", "labelIndex", "labelName"}
    assert {"preprocess_s", "infer_s", "postprocess_s", "serialize_s", "input_conversion_s", "model_loading_s"} <= set(
        body["latency"]
    )
    assert all(value >= 0 for value in body["latency"].values())
    assert body["threshold"] == served.deployment.threshold


def test_the_answer_is_what_the_bundle_says(client: TestClient, served: Served):
    for seed in range(6):
        picture = model_support.part_picture(700 + seed, "scratch" if seed % 2 else None)
        body = send(client, served, picture).json()
        expected = predictor.open_model(served.model.bundle_key).predict([picture], threshold=served.model.threshold)[0]
        assert body["predictions"]["score"] == expected.decision.score
        assert body["predictions"]["labelIndex"] == expected.decision.category_index
        assert body["ng_score"] == expected.decision.ng_score
        scores = {entry["labelIndex"]: entry["score"] for entry in body["scores"]}
        assert tuple(scores[index] for index in range(2)) == expected.scores.scores
        assert [entry["score"] for entry in body["scores"]] == sorted(scores.values(), reverse=True)


def test_the_endpoints_threshold_decides_and_a_change_takes_effect_at_once(client: TestClient, served: Served):
    ng_score = send(client, served).json()["ng_score"]
    for threshold, name in ((min(1.0, ng_score + 0.001), "good"), (max(0.0, ng_score - 0.001), "scratch")):
        with transaction() as session:
            serving_service.change_deployment(
                session,
                actor=served.actor,
                project_id=served.project.id,
                deployment_id=served.deployment.id,
                threshold=threshold,
            )
        body = send(client, served).json()
        assert (body["threshold"], body["predictions"]["labelName"]) == (threshold, name)


def test_unknown_query_keys_and_parts_are_ignored(client: TestClient, served: Served):
    answer = client.post(
        f"{served.path}&device_type=jslib&runtime=x",
        files={"file": ("file", PICTURE)},
        data={"metadata": "", "file_url": "", "extra": "x"},
    )
    assert answer.status_code == 200


def test_a_bearer_token_is_a_key_too(anonymous: TestClient, served: Served):
    anonymous.headers["Authorization"] = f"Bearer {served.key}"
    assert send(anonymous, served).status_code == 200


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "land_sk_" + "x" * 40, "wrong", "land_sk_" + "x" * 5000])
def test_without_a_valid_key_nothing_is_said(anonymous: TestClient, served: Served, key: str | None):
    headers = {} if key is None else {"apikey": key}
    for path in (served.path, "/inference/v1/predict", "/inference/v1/predict?endpoint_id=x"):
        answer = anonymous.post(path, headers=headers, files={"file": ("file", PICTURE)})
        assert answer.status_code == 401
        body = answer.json()
        assert body["errorCode"] == "UNAUTHORIZED"
        assert body["message"]
        assert body["status"] == 401
    assert records() == []


@pytest.mark.parametrize("text", ["", "1", "not-a-uuid"])
def test_an_endpoint_id_that_is_no_uuid_is_a_list_under_detail(client: TestClient, text: str):
    answer = client.post(f"/inference/v1/predict?endpoint_id={text}", files={"file": ("file", PICTURE)})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "endpoint_id"]


def test_an_unknown_endpoint_is_a_404(client: TestClient):
    answer = client.post(
        "/inference/v1/predict?endpoint_id=59eff733-1dcd-4ace-b104-9041c745f1da", files={"file": ("file", PICTURE)}
    )
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "request_parts",
    [
        {},
        {"data": {"metadata": "{}"}},
        {"content": b"", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"rubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": PICTURE, "headers": {"content-type": "image/png"}},
        {"data": {"file": ""}},
    ],
)
def test_a_call_without_a_picture_says_so(client: TestClient, served: Served, request_parts: dict):
    answer = client.post(served.path, **request_parts)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Missing parameter")


def test_an_address_is_never_fetched(client: TestClient, served: Served):
    answer = client.post(served.path, files={"file_url": (None, "http://127.0.0.1:1/x.png")})
    assert answer.status_code == 400
    assert "file_url" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!doctype html>", b"GIF89a", PICTURE[:200], b"\xff\xd8\xff"],
)
def test_what_is_no_whole_picture_is_refused_and_not_recorded(client: TestClient, served: Served, content: bytes):
    answer = send(client, served, content)
    assert answer.status_code == 415
    assert answer.json()["detail"]
    assert records() == []


def test_a_bomb_is_refused_by_its_header(client: TestClient, served: Served):
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert send(client, served, bomb).status_code in {413, 415}


def test_a_body_over_the_limit_is_not_read(client: TestClient, served: Served):
    too_long = get_settings().max_image_mb * 1_000_000 + 1_000_000
    answer = client.post(
        served.path, content=b"x", headers={"content-length": str(too_long), "content-type": "multipart/form-data"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": {}}'])
def test_metadata_that_is_no_flat_object_is_refused(client: TestClient, served: Served, text: str):
    assert send(client, served, metadata=text).status_code == 422


def test_a_key_of_one_endpoint_calls_that_endpoint_and_does_nothing_else(anonymous: TestClient, served: Served):
    with transaction() as session:
        other = serving_service.create_deployment(
            session, actor=served.actor, project_id=served.project.id, name="Other", model_id=served.model.id
        )
        _, key = serving_service.create_endpoint_key(
            session, actor=served.actor, project_id=served.project.id, deployment_id=served.deployment.id
        )
    anonymous.headers["apikey"] = key
    assert send(anonymous, served).status_code == 200
    refused = anonymous.post(f"/inference/v1/predict?endpoint_id={other.id}", files={"file": ("file", PICTURE)})
    assert refused.status_code == 403
    assert anonymous.get("/v1/projects").status_code == 403
    assert anonymous.get(f"/v1/projects/{served.project.id}/deployments").status_code == 403


def test_a_revoked_key_stops_within_two_seconds(client: TestClient, served: Served):
    assert send(client, served).status_code == 200
    with transaction() as session:
        row = session.scalars(select(ApiKey)).one()
        account_service.revoke_key(session, actor=served.actor, key_id=row.id)
    deadline = time.monotonic() + 2
    while send(client, served).status_code != 401:
        assert time.monotonic() < deadline


def test_an_expired_key_and_one_of_a_deactivated_person_are_refused(anonymous: TestClient, served: Served):
    member = factories.make_user(Role.MEMBER)
    keys = [factories.make_key(member), factories.make_key(served.actor, name="old")]
    with transaction() as session:
        session.scalars(select(ApiKey).where(ApiKey.name == "old")).one().expires_at = utc_now()
        account_service.change_person(session, actor=served.actor, user_id=member.user_id, is_active=False)
    for key in keys:
        assert anonymous.post(served.path, headers={"apikey": key}).status_code == 401


def test_who_may_not_see_the_project_finds_no_endpoint(anonymous: TestClient, served: Served):
    outsider = factories.make_user(Role.MEMBER)
    with transaction() as session:
        session.get(Project, served.project.id).is_invite_only = True
    answer = anonymous.post(served.path, headers={"apikey": factories.make_key(outsider)})
    assert answer.status_code == 404


def test_a_paused_endpoint_answers_409_until_it_is_resumed(client: TestClient, served: Served):
    where = {"actor": served.actor, "project_id": served.project.id, "deployment_id": served.deployment.id}
    for is_active, status in ((False, 409), (True, 200)):
        with transaction() as session:
            serving_service.set_active(session, is_active=is_active, **where)
        assert send(client, served).status_code == status


def test_a_deleted_endpoint_is_gone_and_its_keys_with_it(anonymous: TestClient, served: Served):
    where = {"actor": served.actor, "project_id": served.project.id, "deployment_id": served.deployment.id}
    with transaction() as session:
        _, key = serving_service.create_endpoint_key(session, **where)
    assert anonymous.post(served.path, headers={"apikey": key}, files={"file": PICTURE}).status_code == 200
    with transaction() as session:
        serving_service.delete_deployment(session, **where)
    assert anonymous.post(served.path, headers={"apikey": key}).status_code == 401
    assert anonymous.post(served.path, headers={"apikey": served.key}).status_code == 404


def test_a_limit_answers_429_with_retry_after(client: TestClient, served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predict, "_limit", RateLimit(2))
    assert [send(client, served).status_code for _ in range(3)] == [200, 200, 429]
    refused = send(client, served)
    assert int(refused.headers["Retry-After"]) in {29, 30}
    assert refused.headers["access-control-allow-origin"] == "*"


def test_a_full_queue_answers_503_with_retry_after(client: TestClient, served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(predictor.predictor()), "n_waiting", 10**6)
    refused = send(client, served)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_bundle_that_was_changed_is_never_run(client: TestClient, served: Served):
    blobs().put(f"{served.model.bundle_key}/model.onnx", b"not what was published")
    answer = send(client, served)
    assert answer.status_code == 422
    assert records() == []


# --- browsers on other sites -----------------------------------------------------------------------------------------


def test_a_preflight_allows_the_headers_of_the_javascript_client_without_credentials(anonymous: TestClient):
    answer = anonymous.options(
        "/inference/v1/predict?endpoint_id=x",
        headers={
            "Origin": "https://line.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,apisecret",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {"apikey", "apisecret", "accept", "content-type"} <= allowed
    assert "access-control-allow-credentials" not in answer.headers


def test_answers_and_errors_are_open_to_every_origin_and_other_routes_are_not(client: TestClient, served: Served):
    assert send(client, served).headers["access-control-allow-origin"] == "*"
    refused = client.post(served.path, headers={"Origin": "https://line.example", "Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in client.get("/v1/projects").headers


# --- history ---------------------------------------------------------------------------------------------------------


def test_every_call_is_recorded_with_its_picture_and_metadata(client: TestClient, served: Served):
    body = send(client, served, metadata=json.dumps({"inspection_station_id": "S1", "location_id": ""})).json()
    (record,) = records()
    assert record.deployment_id == served.deployment.id
    assert record.model_id == served.model.id
    assert record.category_name == body["predictions"]["labelName"]
    assert record.score == body["predictions"]["score"]
    assert record.ng_score == body["ng_score"]
    assert (record.width_px, record.height_px) == (48, 48)
    assert record.call_metadata == {"inspection_station_id": "S1"}
    assert record.source == "api"
    assert record.latency_ms > 0
    assert blobs().read(record.blob_key) == PICTURE
    with new_session() as session:
        assert session.scalars(select(ApiKey.last_used_at)).one() is not None


def test_what_is_queued_is_written_when_the_process_ends(app, database, served: Served):
    with TestClient(app, headers={"apikey": served.key}) as client:
        for seed in range(20):
            send(client, served, model_support.part_picture(seed))
    with new_session() as session:
        assert len(list(session.scalars(select(InferenceRecord.id)))) == 20


def test_when_pictures_pile_up_rows_are_kept_and_when_rows_pile_up_calls_are_counted(served: Served):
    recorder = recording.Recorder(max_calls=4, max_bytes=2 * len(PICTURE))
    with transaction():  # holds the write lock of SQLite, so that nothing is written meanwhile
        pass
    prediction = predictor.open_model(served.model.bundle_key).predict([PICTURE])[0]
    with new_session() as session:
        from app.serving import access

        endpoint = access.find_endpoint(session, served.actor, served.deployment.id)
    call = predict.to_record(endpoint, prediction, picture=PICTURE, latency_ms=1.0, source="api", metadata={})
    with recorder._changed:
        for _ in range(6):
            recorder.add(call)
    recorder.close()
    assert (recorder.n_dropped, recorder.n_without_picture) == (2, 2)
    kept = records()
    assert len(kept) == 4
    assert [record.blob_key is None for record in kept] == [False, False, True, True]
    assert {record.width_px for record in kept} == {48}


def test_a_call_of_an_endpoint_that_was_purged_does_not_stop_the_others(client: TestClient, served: Served):
    from dataclasses import replace
    from uuid import uuid4

    from app.serving import access

    with new_session() as session:
        endpoint = access.find_endpoint(session, served.actor, served.deployment.id)
    prediction = predictor.open_model(served.model.bundle_key).predict([PICTURE])[0]
    call = predict.to_record(endpoint, prediction, picture=PICTURE, latency_ms=1.0, source="api", metadata={})
    for item in (call, replace(call, deployment_id=uuid4()), call):
        recording.recorder().add(item)
    assert len(records()) == 2


# --- snippets ---------------------------------------------------------------------------------------------------------


def test_the_curl_and_python_snippets_run_as_pasted(browser: TestClient, owner: Actor, tmp_path: Path):
    served = serving_support.serve(owner, tmp_path)
    (tmp_path / "image.png").write_bytes(PICTURE)
    with serving_support.live_server(tmp_path / "server.log") as address:
        page = browser.post(
            f"/projects/{served.project.id}/deploy/{served.deployment.id}/keys",
            data={"name": "PLC"},
            headers={"HX-Request-Type": "partial", "Origin": address, "Host": address.removeprefix("http://")},
        )
        assert page.status_code == 200
        curl, python = (_code(page.text, name) for name in ("curl", "python"))
        assert address in curl
        answered = subprocess.run(["bash", "-c", curl], cwd=tmp_path, capture_output=True, text=True, check=True)
        prediction = json.loads(answered.stdout)["predictions"]
        script = tmp_path / "call.py"
        script.write_text(python)
        printed = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert printed.stdout.split() == [prediction["labelName"], str(prediction["score"])]


def _code(html: str, name: str) -> str:
    from html import unescape

    found = re.search(rf'<code id="code-{name}">(.*?)</code>', html, re.DOTALL)
    assert found is not None
    return unescape(found[1])
