"""What of a child's output reaches the console, and how its file stays small."""

from pathlib import Path

from app.supervisor import logs
from app.supervisor.logs import ChildLog


def test_warnings_and_whole_tracebacks_are_shown_and_everything_is_kept(tmp_path: Path, capsys) -> None:
    log = ChildLog(tmp_path, "web")
    text = (
        "2026-01-01 INFO app: started\n"
        "2026-01-01 WARNING app: disk is nearly full\n"
        "  second line of it\n"
        "2026-01-01 INFO app: going on\n"
        "detail of an information\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1\n'
        "ValueError: broken\n"
        "2026-01-01 INFO app: ERROR is only a word here\n"
    )
    for start in range(0, len(text), 7):
        log.write(text[start : start + 7].encode())
    log.close()
    shown = [line.split(" | ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        "2026-01-01 WARNING app: disk is nearly full",
        "  second line of it",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: broken",
    ]
    assert (tmp_path / "web.log").read_text() == text


def test_a_last_line_without_an_end_is_kept(tmp_path: Path) -> None:
    log = ChildLog(tmp_path, "web", quiet=True)
    log.write(b"no newline")
    log.close()
    assert (tmp_path / "web.log").read_text() == "no newline\n"


def test_the_file_rotates_and_only_so_many_old_ones_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 100)
    log = ChildLog(tmp_path, "web", quiet=True)
    for number in range(60):
        log.write(f"line {number:03} with some words\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["web.log", "web.log.1", "web.log.2", "web.log.3"]
    newest = (tmp_path / "web.log.1").read_text() + (tmp_path / "web.log").read_text()
    assert newest.rstrip().endswith("line 059 with some words")
