"""The papers of an installation hold together: settings, Compose file, image, operations guide."""

import os
import re
import sys
from typing import Any

import pytest
import yaml

from app.settings import ROOT, Settings
from app.supervisor.children import QUEUES

SETTING_NAMES = {f"KIZU_{name.upper()}" for name in Settings.model_fields}
# Read by the tests and the demonstration, not by an installation.
OTHER_NAMES = {"KIZU_SHARED_DATA", "KIZU_TEST_WORKERS"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_operations_guide_lists_every_setting_with_its_default() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(KIZU_\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert set(rows) == SETTING_NAMES
    for name, field in Settings.model_fields.items():
        shown = rows[f"KIZU_{name.upper()}"].strip("`")
        if name == "home":
            assert shown == "./data"
        elif field.default is None:
            assert shown == ""
        elif isinstance(field.default, list):
            assert shown == str(field.default).replace("'", '"')
        else:
            assert shown == str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def test_the_compose_file_names_settings_that_exist(compose) -> None:
    named = set(re.findall(r"KIZU_[A-Z0-9_]+", (ROOT / "docker-compose.yml").read_text()))
    assert named <= SETTING_NAMES
    for name in ("KIZU_DATABASE_URL", "KIZU_REDIS_URL", "KIZU_STORAGE_URL"):
        assert name in compose["services"]["web"]["environment"]


def test_the_compose_file_has_every_role_and_no_default_secret(compose) -> None:
    services = compose["services"]
    assert set(services) == {
        *("prepare", "web", "predictor", "scheduler", "postgres", "redis", "storage"),
        *(f"worker-{queue}" for queue in QUEUES),
    }
    text = (ROOT / "docker-compose.yml").read_text()
    for secret in re.findall(r"\$\{(\w*(?:PASSWORD|KEY)\w*)([^}]*)\}", text):
        assert secret[1].startswith(":?"), f"{secret[0]} must be given, not defaulted"
    for name, service in services.items():
        if "build" in service:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert name == "prepare" or "test" in service["healthcheck"], name
        assert not {"privileged", "network_mode"} & set(service), name
    assert [name for name, service in services.items() if "ports" in service] == ["web", "predictor"]
    mounted = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert mounted == set(compose["volumes"])


def test_the_commands_of_the_compose_file_exist(compose) -> None:
    from app.cli.commands import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    ours = [service for service in compose["services"].values() if "build" in service]
    assert {service["command"][0] for service in ours} <= names


def test_the_image_copies_what_exists_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in lines:
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (ROOT / source).exists(), source
                assert source in allowed, f"{source} is ignored by .dockerignore"
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER kizu" in last_stage


def test_no_other_variable_of_ours_is_read() -> None:
    pattern = re.compile(r"KIZU_[A-Z0-9_]+")
    for folder in ("app", "worker"):
        for path in (ROOT / folder).rglob("*.py"):
            unknown = set(pattern.findall(path.read_text())) - SETTING_NAMES - OTHER_NAMES
            assert not {name for name in unknown if not name.endswith("_")}, path


def test_an_idle_worker_has_not_imported_what_only_a_task_needs() -> None:
    import subprocess

    heavy = {
        "torch",
        "timm",
        "torchvision",
        "openvino",
        "onnx",
        "onnxruntime",
        "sklearn",
        "scipy",
        "PIL",
        "numpy",
        "boto3",
    }
    program = "import sys; from worker.celery_app import load_tasks; load_tasks(); print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, env=env, cwd=ROOT
    ).stdout.split()
    assert heavy & set(loaded) == set()
