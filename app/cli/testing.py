"""`./kizu test`: bring what the tests need, and run every check."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.settings import ROOT

CLIENT_VENV = ROOT / ".venv-landingai"
# The published client as its users install it; it pins numpy < 2 and pillow < 11, so it has an environment of its own.
CLIENT_REQUIREMENT = "landingai==0.3.49"
# The levels whose outcome depends on the database.
DATABASE_TESTS = ["tests/api", "tests/integration"]


def run(arguments: list[str]) -> int:
    """Run all checks, or only pytest where `arguments` are given; return the exit code.

    The tests whose outcome depends on the database run on PostgreSQL beside the checks, which use one core, and beside
    all tests on SQLite, which often wait for browsers and for processes of their own. The output ends with the summary.
    """
    ensure_chromium()
    ensure_client_venv()
    pytest = [sys.executable, "-m", "pytest", "-q"]
    if arguments:
        return _call([sys.executable, "-m", "pytest", *arguments])
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as heard:
        beside = _start([*pytest, "--database=postgres", *DATABASE_TESTS], stdout=heard, stderr=heard)
        try:
            failed = [name for name, command in checks().items() if _announce_and_call(name, command)]
            print("\n=== pytest", flush=True)
            code, summary = _call_and_tell([*pytest, *in_parallel()])
            if beside.wait():
                failed.append("pytest on PostgreSQL")
        finally:
            beside.kill()
        heard.seek(0)
        print(f"\n=== pytest on PostgreSQL\n{heard.read()}")
    if failed:
        print(f"Failed beside the tests on SQLite: {', '.join(failed)}.")
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\n=== pytest: {summary}\n=== all checks and tests: {minutes} min {seconds} s", flush=True)
    return code or int(bool(failed))


def checks() -> dict[str, list[str]]:
    """Return the checks before the tests: name and command."""
    bin_dir = Path(sys.executable).parent
    return {
        "ruff check": [str(bin_dir / "ruff"), "check", "--quiet"],
        "ruff format": [str(bin_dir / "ruff"), "format", "--check", "--quiet"],
        "mypy": [str(bin_dir / "mypy")],
        "import contracts": [str(bin_dir / "lint-imports"), "--no-cache"],
        "node --test": [node(), "--test", *sorted(map(str, (ROOT / "tests").rglob("*.test.js")))],
    }


def in_parallel() -> list[str]:
    """Return the options that spread the test files over the cores; `tests/conftest.py` says what stays together.

    One process more than cores: each often waits for a browser, a server or a worker that it has started.
    """
    n = int(os.environ.get("KIZU_TEST_WORKERS", str(min(4, (os.cpu_count() or 1) + 1))))
    return ["-n", str(n), "--dist", "loadfile", "--no-loadscope-reorder"] if n > 1 else []


def ensure_chromium() -> None:
    """Install Debian's Chromium where it is missing and may be installed; else say what the browser tests will lack."""
    if shutil.which("chromium"):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        print(
            "The browser tests need Debian's Chromium and are skipped without it: apt-get install chromium", flush=True
        )
        return
    print("Installing Chromium for the browser tests ...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if result.returncode:
            print(result.stderr.strip()[-2000:])
            print("Chromium could not be installed; the browser tests are skipped.", flush=True)
            return


def ensure_client_venv() -> None:
    """Make the environment of the published client once; without it the test that uses it is skipped."""
    stamp = CLIENT_VENV / ".stamp"
    wanted = hashlib.sha256(f"{CLIENT_REQUIREMENT} {sys.version_info[:2]}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {CLIENT_REQUIREMENT} into an environment of its own ...", flush=True)
    python = CLIENT_VENV / "bin" / "python"
    # `setuptools`: a dependency of the client still imports pkg_resources.
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        CLIENT_REQUIREMENT,
        "setuptools<81",
    ]
    for command in ([sys.executable, "-m", "venv", "--clear", str(CLIENT_VENV)], install):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            print((result.stdout + result.stderr).strip()[-2000:])
            print("The client could not be installed; its contract test is skipped.", flush=True)
            return
    stamp.write_text(wanted)


def node() -> str:
    """Return the program node: the one on the PATH, else the one that `./kizu` installed into the environment."""
    return shutil.which("node") or str(Path(sys.executable).parent / "node")


def _announce_and_call(name: str, command: list[str]) -> int:
    print(f"\n=== {name}", flush=True)
    return _call(command)


def _call(command: list[str]) -> int:
    """Run `command` as `_start` does; return its exit code."""
    return _start(command).wait()


def _call_and_tell(command: list[str]) -> tuple[int, str]:
    """Run `command`, passing on what it prints; return its exit code and the last line."""
    process, last = _start(command, stdout=subprocess.PIPE), ""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    return process.wait(), last


def _start(command: list[str], **streams: Any) -> subprocess.Popen[str]:
    """Start `command` in the project's root without the settings of an installation."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("KIZU_") or name in _KEPT}
    # The tests start some two hundred processes; without compiled files each would compile all our modules anew.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, **streams)


_KEPT = frozenset({"KIZU_SHARED_DATA", "KIZU_TEST_WORKERS"})
