"""The shape of the repository: imports run one way, templates hold together, the schema matches the tables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from jinja2 import nodes

from app.db.migrate import alembic_config
from app.settings import ROOT
from app.web.rendering import TEMPLATES_DIR, environment

TEMPLATES = sorted(str(path.relative_to(TEMPLATES_DIR)) for path in TEMPLATES_DIR.rglob("*.html"))


def test_imports_run_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_web_process_never_loads_the_training_libraries() -> None:
    code = (
        "import sys; from app.main import create_app; create_app(); "
        "heavy = {'torch', 'timm', 'torchvision', 'sklearn', 'onnx', 'celery.app.trace'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_compiles_and_names_what_exists(name: str, app) -> None:
    """Every template parses; each route and each asset that it names literally is there."""
    environment().get_template(name)
    source = (TEMPLATES_DIR / name).read_text()
    tree = environment().parse(source)
    for call in tree.find_all(nodes.Call):
        if not isinstance(call.node, nodes.Name) or not call.args or not isinstance(call.args[0], nodes.Const):
            continue
        if call.node.name == "url_for":
            assert call.args[0].value in app.state.named_routes, f"{name} names a route that does not exist"
        elif call.node.name == "asset":
            assert (ROOT / "static" / call.args[0].value).is_file(), f"{name} names a file that does not exist"
    markup = re.sub(r"\{#.*?#\}", "", source, flags=re.S)
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)|\|\s*safe\b", markup), (
        f"{name} holds what the content security policy or escaping forbids"
    )


def test_every_front_end_file_is_installed() -> None:
    vendor = json.loads((ROOT / "package.json").read_text())["kizu"]["vendor"]
    assert vendor
    missing = [name for name in vendor if not (ROOT / "static" / "vendor" / name).exists()]
    assert not missing


def test_the_front_end_lock_names_no_host() -> None:
    assert "resolved" not in (ROOT / "package-lock.json").read_text()


def test_one_migration_head_that_matches_the_tables_and_goes_back(tmp_path: Path) -> None:
    from app.db.session import make_engine

    config = alembic_config()
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
    engine = make_engine(f"sqlite:///{tmp_path / 'fresh.sqlite3'}")
    for step in (
        lambda: command.upgrade(config, "head"),
        lambda: command.check(config),
        lambda: command.downgrade(config, "base"),
        lambda: command.upgrade(config, "head"),
    ):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            step()
    engine.dispose()


def test_the_class_colours_are_the_same_everywhere() -> None:
    from app.projects.palette import CATEGORY_COLORS

    template = environment().get_template("macros/badges.html")
    assert tuple(template.module.PALETTE) == CATEGORY_COLORS
    tokens = (ROOT / "static" / "css" / "tokens.css").read_text()
    assert tuple(re.findall(r"--class-\d+: (#[0-9a-f]{6});", tokens)) == CATEGORY_COLORS


def test_nothing_is_unpickled() -> None:
    """No module of ours loads a pickle; torch reads weights with `weights_only=True`."""
    for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("worker/**/*.py")]:
        source = path.read_text()
        assert not re.search(r"^\s*(import|from) (pickle|cPickle|dill|joblib|shelve)\b", source, re.M), path
        for call in re.findall(r"torch\.load\(.*", source):
            assert "weights_only=True" in call, path
        assert "allow_pickle=True" not in source, path
        assert "trust_remote_code" not in source, path


def test_celery_takes_json_only() -> None:
    from app.queue.broker import celery_settings

    settings = celery_settings()
    assert settings["accept_content"] == ["json"]
    assert settings["task_serializer"] == settings["result_serializer"] == "json"
    assert settings["task_acks_late"] is False


def test_files_are_opened_below_a_folder_only_through_the_containment_check() -> None:
    """No path of ours is made by joining text that came from outside: `open(join())` stands nowhere."""
    for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("worker/**/*.py")]:
        assert "os.path.join" not in path.read_text(), path
