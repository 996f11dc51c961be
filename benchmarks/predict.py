"""How fast an endpoint answers, next to the bare network: eight clients sending 300 x 300 PNGs over REST.

    python -m benchmarks.predict [--clients 8] [--seconds 10] [--rounds 3] [--symmetry auto]

Trains EfficientNet-Lite0 on a part of ELPV, starts a whole `kizu up` on a new home, and lets clients (a process each,
one kept connection each) call its endpoint, with authentication, history and pictures kept, as installed. The
reference is the raw OpenVINO session of the same model, fed with the same pictures already decoded and resized. Both
are measured in turns, so that the machine's other work slows both alike. The model is what one click on Train makes;
with `--symmetry identity` a prediction is a single pass of the network, and everything around it weighs most.

Data: ELPV (Buerhop-Lutz et al. 2018, Deitsch et al. 2019), CC BY-NC-SA 4.0, from the package `elpv-dataset`.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

TARGET_RATIO = 0.7
TARGET_IDLE_MB = 600
N_PICTURES = 200
TRAIN_EVERY = 6
SETTLE_S = 8.0
_BOUNDARY = "kizu-benchmark-8d41f0"


@dataclass(frozen=True)
class Prepared:
    """What the child that prepares the home leaves: an endpoint, its key, and the folder of its bundle."""

    deployment_id: str
    key: str
    bundle: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--symmetry", default="auto", help="of the model; `identity` is the hardest case")
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=4, metavar=("PORT", "PATH", "KEY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        run_client(*options.client, seconds=options.seconds)
        return
    if options.prepare:
        prepare(options.symmetry)
        return
    with tempfile.TemporaryDirectory(prefix="kizu-benchmark-") as home:
        raise SystemExit(0 if measure(Path(home), options) else 1)


def measure(home: Path, options: argparse.Namespace) -> bool:
    """Prepare, start, measure in turns, print; return whether every target is reached."""
    env = environment(home)
    print("training EfficientNet-Lite0 on a part of ELPV ...", flush=True)
    prepared = Prepared(**in_child(env, "benchmarks.predict", "--prepare", "--symmetry", options.symmetry))
    with running(home, env) as (port, pid):
        idle_mb, parts = resident_mb(pid)
        raw = RawSession(Path(prepared.bundle))
        run_clients(options.clients, 1.0, port, prepared)  # the first call compiles the model
        turns = []
        server_cpu_s = -web_cpu_seconds(pid)
        for _ in range(options.rounds):
            before = raw.images_per_s(options.seconds / 2)
            served = run_clients(options.clients, options.seconds, port, prepared)
            turns.append(((before + raw.images_per_s(options.seconds / 2)) / 2, served))
        server_cpu_s += web_cpu_seconds(pid)
        busy_mb, _ = resident_mb(pid)
    passed = report(options, raw.engine, turns, idle_mb, busy_mb, parts)
    n_served = sum(len(times) for _, times in turns)
    print(f"processor time an image: {raw.cpu_ms:.1f} ms raw, {1000 * server_cpu_s / n_served:.1f} ms served")
    return passed


def report(options: argparse.Namespace, engine: str, turns: list, idle_mb: float, busy_mb: float, parts: dict) -> bool:
    """Print the figures and whether each reaches its target; return whether all do."""
    seconds = options.seconds
    print(f"{os.cpu_count()} cores, {options.clients} clients, {engine}, symmetry {options.symmetry}")
    print(f"{'turn':>4} {'raw images/s':>13} {'served images/s':>16} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7}")
    for number, (raw, times) in enumerate(turns, 1):
        rate = len(times) / seconds
        print(f"{number:4} {raw:13.1f} {rate:16.1f} {rate / raw:6.2f} {at(times, 0.5):7.0f} {at(times, 0.99):7.0f}")
    raw = sum(turn[0] for turn in turns) / len(turns)
    times = [value for _, values in turns for value in values]
    rate = len(times) / seconds / len(turns)
    print(f"{'all':>4} {raw:13.1f} {rate:16.1f} {rate / raw:6.2f} {at(times, 0.5):7.0f} {at(times, 0.99):7.0f}")
    shares = ", ".join(f"{name} {mb:.0f}" for name, mb in parts.items())
    print(f"resident memory of kizu up: {idle_mb:.0f} MB idle ({shares}), {busy_mb:.0f} MB after the load")
    verdicts = [
        (f"served / raw >= {TARGET_RATIO}", rate / raw >= TARGET_RATIO),
        (f"idle memory <= {TARGET_IDLE_MB} MB", idle_mb <= TARGET_IDLE_MB),
    ]
    for name, is_reached in verdicts:
        print(f"{'PASS' if is_reached else 'FAIL'}  {name}")
    return all(is_reached for _, is_reached in verdicts)


def at(values: list[float], q: float) -> float:
    """Return a quantile of seconds, in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(q * len(values)))]


# --- the model and its endpoint --------------------------------------------------------------------------------------


def prepare(symmetry: str) -> None:
    """Train a model in the home that the environment names, put an endpoint on it, and print what `Prepared` holds."""
    from app.settings import get_settings
    from worker.runtime import preparation

    preparation.export_all()  # else `kizu up` would do it in the background of what is measured
    trained = train(get_settings().cache_dir, get_settings().home / "work", symmetry)
    print(json.dumps(asdict(deploy(trained, name="ELPV"))))


def deploy(trained, *, name: str) -> Prepared:
    """Put what was trained into a project of its own, with its classes, and an endpoint on it."""
    from types import SimpleNamespace

    from app.accounts import service as account_service
    from app.accounts.permissions import Actor, Role
    from app.db.session import transaction
    from app.db.tables import User
    from app.projects import service as project_service
    from app.registry import service as registry_service
    from app.serving import service as serving_service

    with transaction() as session:
        account_service.ensure_owner(session)
        session.flush()
        user = session.query(User).one()
        actor = Actor(user_id=user.id, name=user.name, email=user.email, role=Role.OWNER)
        project = project_service.create_project(session, actor=actor, name=name, task=trained.manifest.task)
        made = {one.name for one in project_service.list_categories(session, project.id)}
        for one in trained.manifest.categories:
            if one.name not in made:
                project_service.create_category(
                    session, actor=actor, project_id=project.id, name=one.name, is_good=one.is_good
                )
        session.flush()
        model = registry_service.publish(
            session,
            job=SimpleNamespace(id=None, project_id=project.id, dataset_version_id=None, created_by_id=actor.user_id),
            name=None,
            bundle_dir=trained.bundle_dir,
            manifest=trained.manifest,
            metrics={},
            tables={},
            predictions=[],
        )
        deployment = serving_service.create_deployment(
            session, actor=actor, project_id=project.id, name=name, model_id=model.id
        )
        _, key = serving_service.create_endpoint_key(
            session, actor=actor, project_id=project.id, deployment_id=deployment.id
        )
    return Prepared(str(deployment.id), key, str(trained.bundle_dir))


def train(cache_dir: Path, work_dir: Path, symmetry: str):
    from app.contracts.jobs import TrainSpec
    from benchmarks.train_classification import build_dataset
    from worker.ml.training.classification import train_classification

    whole = build_dataset(seed=0)
    return train_classification(
        TrainSpec(backbone="efficientnet_lite0", symmetry=symmetry),
        whole.model_copy(update={"items": whole.items[::TRAIN_EVERY]}),
        open_image=lambda item: Path(item.blob_key),
        cache_dir=cache_dir,
        work_dir=work_dir,
        on_event=lambda _event: None,
    )


def pictures() -> list[Path]:
    """Return ELPV pictures, 300 x 300 PNG, none of them twice."""
    from importlib.util import find_spec

    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise SystemExit("The benchmark needs the package elpv-dataset: pip install elpv-dataset")
    return sorted((Path(spec.origin).parent / "data" / "images").glob("*.png"))[:N_PICTURES]


class RawSession:
    """The bundle's network alone, as its authors' runtime drives it best: asynchronous, a stream for each core."""

    def __init__(self, bundle_dir: Path) -> None:
        import openvino

        from app.inference import read_bundle, to_pixels
        from app.inference.sessions.openvino import engine_version, image_part, supported_precision

        manifest = read_bundle(bundle_dir).manifest
        precision = supported_precision(manifest.precision)
        part = image_part(bundle_dir / "model.onnx", manifest.scores_name, manifest.preprocessing, precision=precision)
        self.engine = f"openvino {engine_version()} {precision}"
        self._cpu_s, self._n_images = 0.0, 0
        self._queue = openvino.AsyncInferQueue(part.compiled)  # as many requests as the runtime itself advises
        self._pixels = [to_pixels(path, manifest.preprocessing)[None] for path in pictures()]

    @property
    def cpu_ms(self) -> float:
        """Processor time that one image cost so far, on all cores."""
        return 1000 * self._cpu_s / self._n_images

    def images_per_s(self, seconds: float) -> float:
        started, cpu_started, n_images = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < seconds:
            self._queue.start_async({0: self._pixels[n_images % len(self._pixels)]}, share_inputs=True)
            n_images += 1
        self._queue.wait_all()
        self._cpu_s += time.process_time() - cpu_started
        self._n_images += n_images
        return n_images / (time.perf_counter() - started)


# --- the server ------------------------------------------------------------------------------------------------------


def environment(home: Path) -> dict[str, str]:
    """Return the environment of everything that belongs to a new home, and make the home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("KIZU_")}
    env |= {"KIZU_HOME": str(home), "KIZU_LOG_LEVEL": "warning"}
    subprocess.run([sys.executable, "-m", "app.cli", "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    return env


def in_child(env: dict[str, str], module: str, *arguments: str) -> dict:
    """Run a module in a process that sees the home, and return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def running(home: Path, env: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Start a whole `kizu up` and wait until it is idle; give its port and process id, and stop it afterwards."""
    port = free_port()
    with (home / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli", "up", "--port", str(port)]
        up = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_until_up(up, port, home / "up.log")
        time.sleep(SETTLE_S)
        yield port, up.pid
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_up(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"kizu up did not become healthy:\n{log.read_text()[-3000:]}")


def resident_mb(pid: int) -> tuple[float, dict[str, float]]:
    """Return the resident memory of a process with all its descendants, summed, and each one's share.

    Pages that processes share are counted in each of them, so the sum is never too small.
    """
    import psutil

    root = psutil.Process(pid)
    parts: dict[str, float] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            command, resident = process.cmdline(), process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended a moment ago
            continue
        words = [word for word in command if not word.startswith("-")]
        name = next((word for word in words[1:] if "/" not in word and word != "app.cli"), process.name())
        while name in parts:
            name += "'"
        parts[name] = resident / 1e6
    return sum(parts.values()), parts


def web_cpu_seconds(pid: int) -> float:
    """Return the processor time of the web process below `pid`, which answers the calls."""
    import psutil

    children = psutil.Process(pid).children(recursive=True)
    seconds = 0.0
    for process in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "web" in process.cmdline():
                used = process.cpu_times()
                seconds += used.user + used.system
    return seconds


# --- the clients -----------------------------------------------------------------------------------------------------


def run_clients(
    n_clients: int, seconds: float, port: int, prepared: Prepared, folder: Path | None = None
) -> list[float]:
    """Let clients call for a while, all beginning together; return the seconds that each call took.

    They send the pictures of a folder, ELPV's where there is none.
    """
    path = f"/inference/v1/predict?endpoint_id={prepared.deployment_id}"
    argv = [sys.executable, "-m", "benchmarks.predict", "--seconds", str(seconds)]
    argv += ["--client", str(port), path, prepared.key, str(folder or "")]
    clients = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(n_clients)
    ]
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()  # it is ready
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    times: list[float] = []
    for client in clients:
        answer, _ = client.communicate()
        if client.returncode:
            raise SystemExit("A client failed.")
        times += json.loads(answer)
    return times


def run_client(port: str, path: str, key: str, folder: str, *, seconds: float) -> None:
    """Call one after another over one kept connection. A bare socket: the client's own work should not be measured."""
    files = sorted(Path(folder).iterdir())[:N_PICTURES] if folder else pictures()
    contents = [file.read_bytes() for file in files]
    offset = os.getpid() % len(contents)
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        sys.stdin.readline()
        times: list[float] = []
        ends = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < ends:
            # Bytes behind the end of a picture change only its hash: to the history, every call brings a new picture.
            content = contents[(offset + len(times)) % len(contents)] + f"{os.getpid()} {begun}".encode()
            connection.sendall(request_bytes(path, key, content))
            read_answer(connection)
            times.append(time.perf_counter() - begun)
    print(json.dumps([round(value, 6) for value in times]))


def request_bytes(path: str, key: str, picture: bytes) -> bytes:
    """Return a whole request as the published Python client sends it."""
    body = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode()
        + picture
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\napikey: {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def read_answer(connection: socket.socket) -> None:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the endpoint answered {head[:200]!r} {body[:300]!r}")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)


if __name__ == "__main__":
    main()
