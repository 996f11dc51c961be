"""The first inferences of a process, all at the same time: they once waited for each other for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.accounts.permissions import Actor
from app.contracts.bundle import MANIFEST_NAME
from app.registry import service as registry_service
from app.settings import ROOT
from tests import factories, model_support

PROGRAM = """
import sys, threading
from pathlib import Path
from app.inference import Engine

model = Engine().get(Path(sys.argv[1]))
picture = Path(sys.argv[2]).read_bytes()
together = threading.Barrier(6)

def explain():
    together.wait()
    model.explain(picture)

threads = [threading.Thread(target=explain, daemon=True) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("all answered")
"""


@pytest.mark.timeout(120)
def test_the_first_inferences_at_once_do_not_wait_for_each_other(database: None, tmp_path: Path) -> None:
    owner: Actor = factories.make_user()
    project = factories.make_project(owner)
    model_support.add_images(project, [("good", "train"), ("scratch", "train")] * 4)
    model = model_support.train_model(project, owner, tmp_path / "bundle")
    manifest = registry_service.manifest_of(model).model_dump_json()
    (tmp_path / "bundle" / MANIFEST_NAME).write_text(manifest)
    (tmp_path / "part.png").write_bytes(model_support.part_picture(1, "scratch"))
    for _ in range(3):  # a race: it was lost about every second time
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "bundle"), str(tmp_path / "part.png")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=40,
            check=True,
        )
        assert "all answered" in done.stdout
