"""The launcher `kizu`: standard library only, pins that hold together, copies that are whole."""

import ast
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT


@pytest.fixture
def launcher():
    loader = importlib.machinery.SourceFileLoader("kizu_launcher", str(ROOT / "kizu"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("kizu_launcher", loader))
    loader.exec_module(module)
    return module


def test_it_imports_the_standard_library_only() -> None:
    names = set()
    for node in ast.walk(ast.parse((ROOT / "kizu").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names <= sys.stdlib_module_names


def test_an_old_python_can_read_it_far_enough_to_say_what_is_needed() -> None:
    ast.parse((ROOT / "kizu").read_text(), feature_version=(3, 7))


@pytest.mark.parametrize(
    ("argv", "environ", "extras"),
    [
        (["up"], {}, {"worker"}),
        (["up", "--port", "9000"], {"KIZU_DATABASE_URL": "postgresql+psycopg://u@h/d"}, {"worker", "postgres"}),
        (["web"], {"KIZU_STORAGE_URL": "s3://bucket/prefix"}, {"worker", "s3"}),
        (["demo"], {}, {"worker", "demo"}),
        (["test", "tests/unit"], {}, {"dev"}),
        (["install"], {}, {"worker"}),
        (["install", "postgres", "s3"], {}, {"postgres", "s3"}),
    ],
)
def test_each_command_installs_what_it_needs(launcher, argv, environ, extras) -> None:
    assert launcher.wanted_extras(argv, environ) == extras


def test_every_requirement_is_pinned_and_the_lock_file_agrees(launcher) -> None:
    groups = launcher.read_groups()
    locked = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), line
        assert re.fullmatch(r"[0-9][0-9a-zA-Z.]*", version), f"{line}: no local versions, addresses or paths"
        locked[_normal(name)] = version
    for group in groups:
        for line in launcher.expand(groups, group):
            requirement = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9,]+\])?==([0-9a-zA-Z.]+)(?:;.*)?", line)
            assert requirement, line
            assert locked[_normal(requirement[1])] == requirement[2], line


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_dev_holds_every_other_extra(launcher) -> None:
    groups = launcher.read_groups()
    dev = set(launcher.expand(groups, "dev")) | set(groups["base"])
    for group in groups:
        assert set(launcher.expand(groups, group)) <= dev


def test_the_vendor_folder_is_replaced_as_a_whole(launcher, tmp_path: Path, monkeypatch) -> None:
    modules = tmp_path / "node_modules"
    (modules / "one" / "dist").mkdir(parents=True)
    (modules / "one" / "dist" / "one.js").write_text("1")
    (modules / "two" / "fonts").mkdir(parents=True)
    (modules / "two" / "fonts" / "a.woff2").write_bytes(b"font")
    vendor = tmp_path / "static" / "vendor"
    vendor.mkdir(parents=True)
    (vendor / "stale.js").write_text("of an older version")
    monkeypatch.setattr(launcher, "VENDOR", vendor)

    launcher.copy_vendor({"lib/one.js": "one/dist/one.js", "fonts": "two/fonts"}, modules)
    assert {str(path.relative_to(vendor)) for path in vendor.rglob("*") if path.is_file()} == {
        "lib/one.js",
        "fonts/a.woff2",
    }

    with pytest.raises(SystemExit):
        launcher.copy_vendor({"three.js": "three/three.js"}, modules)
    assert (vendor / "lib" / "one.js").read_text() == "1", "a failing copy leaves the old files"


def test_a_failing_program_ends_the_start_with_its_last_lines(launcher, tmp_path: Path, capsys) -> None:
    program = [
        sys.executable,
        "-c",
        "print('Downloading x/some.whl (1 MB)'); print('no such version'); raise SystemExit(3)",
    ]
    with pytest.raises(SystemExit) as end:
        launcher.run_tersely(program, cwd=tmp_path, name="pip", shown=("Downloading ",))
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "  Downloading some.whl\n" in said
    assert "no such version" in said
    assert "pip failed" in said


def test_it_runs_from_anywhere_and_says_what_it_can_do(tmp_path: Path) -> None:
    result = subprocess.run([ROOT / "kizu"], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)
    assert "./kizu up" in result.stdout
