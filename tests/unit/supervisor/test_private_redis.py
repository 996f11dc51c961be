"""Where the private Redis lies, and that its password stays private."""

import json
from pathlib import Path

from app.supervisor import private_redis


def test_the_record_is_private_and_gives_the_address_back(tmp_path: Path) -> None:
    redis = private_redis.plan(tmp_path)
    record = tmp_path / private_redis.RECORD_NAME
    assert record.stat().st_mode & 0o777 == 0o600
    assert private_redis.find_url(tmp_path) == redis.url
    assert redis.password in redis.url
    assert "port 0" in redis.config().decode()
    private_redis.remove_leftovers(tmp_path)
    assert private_redis.find_url(tmp_path) is None


def test_a_long_path_gets_a_short_folder_which_the_next_start_removes(tmp_path: Path) -> None:
    run_dir = tmp_path / ("x" * 110)
    run_dir.mkdir()
    first = private_redis.plan(run_dir)
    assert first.is_temporary
    assert len(str(first.socket_path)) < 104
    assert first.folder.stat().st_mode & 0o077 == 0
    second = private_redis.plan(run_dir)
    assert not first.folder.exists()
    assert second.password != first.password
    second.remove()
    assert not second.folder.exists()


def test_a_record_that_was_cut_short_is_no_record(tmp_path: Path) -> None:
    (tmp_path / private_redis.RECORD_NAME).write_text(json.dumps({"url": "unix://x"})[:-4])
    assert private_redis.find_url(tmp_path) is None
    private_redis.remove_leftovers(tmp_path)
