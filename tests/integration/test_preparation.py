"""The backbones that every training compares are exported before the first one asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.catalog.backbones import AUTO_BACKBONES
from app.settings import ROOT, get_settings
from worker.runtime import preparation


@pytest.mark.slow
@pytest.mark.one_database
def test_preparing_exports_what_is_missing_and_then_finds_nothing_to_do(tmp_path: Path, monkeypatch) -> None:
    env = os.environ | {"KIZU_HOME": str(tmp_path), "KIZU_PREPARE_BACKBONES": "true"}
    for name in ("KIZU_HOME", "KIZU_PREPARE_BACKBONES"):
        monkeypatch.setenv(name, env[name])
    get_settings.cache_clear()
    try:
        assert preparation.missing() == list(AUTO_BACKBONES)
        subprocess.run([sys.executable, "-P", "-m", "worker", "prepare"], cwd=ROOT, env=env, check=True, timeout=400)
        assert preparation.missing() == []
        monkeypatch.setattr(subprocess, "Popen", lambda *_args, **_kwargs: pytest.fail("there was nothing to do"))
        preparation.start_where_needed()
    finally:
        get_settings.cache_clear()
