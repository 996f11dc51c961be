"""How fast images get in: 2,624 solar cells over REST by four clients, and from one zip.

    python -m benchmarks.ingest [--images N] [--clients N]

Starts a real web process on a new, empty home. The reference is a plain loop in one process that reads, hashes and
decodes the same files, timed before and after; the machine's other work slows both alike. Needs the package
`elpv-dataset` (CC BY-NC-SA 4.0).
"""

import argparse
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

SINGLE_TARGET_PER_S = 160
ZIP_TARGET_RATIO = 0.5
START_WITHIN_S = 60
_BOUNDARY = "kizu-benchmark-4f1c2a"


@dataclass(frozen=True)
class Server:
    port: int
    key: str
    pid: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)


def elpv_files(limit: int) -> list[Path]:
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise SystemExit("The benchmark needs the package elpv-dataset: pip install elpv-dataset")
    return sorted((Path(spec.origin).parent / "data" / "images").glob("*.png"))[:limit]


def plain_loop(files: Sequence[Path]) -> float:
    """Return images per second of reading, hashing and decoding alone."""
    start = time.perf_counter()
    for file in files:
        content = file.read_bytes()
        hashlib.sha256(content).hexdigest()
        Image.open(io.BytesIO(content)).load()
    return len(files) / (time.perf_counter() - start)


def multipart(file_name: str, content: bytes, **fields: str) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    return b"".join([*parts, head, content, f"\r\n--{_BOUNDARY}--\r\n".encode()])


def call(
    connection: http.client.HTTPConnection, server: Server, method: str, path: str, body: bytes, kind: str
) -> dict:
    connection.request(method, path, body, {"apikey": server.key, "Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status not in {200, 201}:
        raise SystemExit(f"{method} {path} answered {answer.status}: {content[:300]!r}")
    return json.loads(content)["data"]


def upload(connection: http.client.HTTPConnection, server: Server, project_id: int, name: str, content: bytes) -> dict:
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    path = f"/v1/projects/{project_id}/images"
    return call(connection, server, "POST", path, multipart(name, content), kind)


def _client(server: Server, project_id: int, files: list[Path], ready: object, go: object) -> None:
    connection = server.connect()
    ready.release()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    for file in files:
        upload(connection, server, project_id, file.name, file.read_bytes())


def one_by_one(server: Server, project_id: int, files: Sequence[Path], n_clients: int) -> float:
    """Return images per second of clients that each send one picture after another over one connection."""
    context = multiprocessing.get_context("fork")
    ready, go = context.Semaphore(0), context.Event()
    clients = [
        context.Process(target=_client, args=(server, project_id, list(files[n::n_clients]), ready, go))
        for n in range(n_clients)
    ]
    for client in clients:
        client.start()
    for _ in clients:
        ready.acquire()
    start = time.perf_counter()
    go.set()
    for client in clients:
        client.join()
    seconds = time.perf_counter() - start
    if any(client.exitcode for client in clients):
        raise SystemExit("A client failed.")
    return len(files) / seconds


def from_zip(server: Server, project_id: int, files: Sequence[Path]) -> float:
    """Return images per second from the first byte of one zip to the answer that names each file's fate."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, f"cells/{file.name}")
    start = time.perf_counter()
    data = upload(server.connect(), server, project_id, "cells.zip", packed.getvalue())
    seconds = time.perf_counter() - start
    statuses = Counter(result["status"] for result in data["results"])
    if statuses != {"created": len(files)}:
        raise SystemExit(f"Not every file of the zip came in: {dict(statuses)}")
    return len(files) / seconds


def resident_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process now and at its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return int(values["VmRSS"]) / 1000, int(values["VmHWM"]) / 1000


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used: unlike the clock it hardly feels the machine's other work."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_web(home: str) -> tuple[subprocess.Popen[bytes], Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"KIZU_HOME": home, "KIZU_ADMIN_PASSWORD": "benchmark-password", "KIZU_LOG_LEVEL": "error"}
    for name in ("KIZU_DATABASE_URL", "KIZU_STORAGE_URL"):
        env.pop(name, None)
    kizu = [sys.executable, "-m", "app.cli"]
    subprocess.run([*kizu, "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run(
        [*kizu, "key", "create", "--name", "benchmark"], env=env, check=True, capture_output=True, text=True
    )
    key = next(word for word in made.stdout.split() if word.startswith("land_sk_"))
    process = subprocess.Popen([*kizu, "web", "--port", str(port)], env=env)
    server = Server(port, key, process.pid)
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = server.connect()
            connection.request("GET", "/v1/projects", headers={"apikey": key})
            connection.getresponse().read()
            return process, server
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit("The web process did not start.")


def new_project(server: Server, name: str) -> int:
    body = json.dumps({"name": name, "projectType": "classification"}).encode()
    return call(server.connect(), server, "POST", "/v1/projects", body, "application/json")["id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--images", type=int, default=2624)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    files = elpv_files(options.images)
    with tempfile.TemporaryDirectory(prefix="kizu-benchmark-") as home:
        process, server = start_web(home)
        try:
            before = plain_loop(files)
            used = [cpu_s(server.pid)]
            single = one_by_one(server, new_project(server, "one by one"), files, options.clients)
            after_single = resident_mb(server.pid)
            used.append(cpu_s(server.pid))
            zipped = from_zip(server, new_project(server, "zip"), files)
            after_zip = resident_mb(server.pid)
            used.append(cpu_s(server.pid))
            reference = (before + plain_loop(files)) / 2
        finally:
            process.terminate()
            process.wait()
    passed = report(len(files), options.clients, reference, single, zipped)
    print(f"memory of the web process: {after_single[0]:.0f} MB after the clients, at most {after_zip[1]:.0f} MB")
    single_ms, zip_ms = ((used[n + 1] - used[n]) * 1000 / len(files) for n in range(2))
    print(f"processor time of the web process: {single_ms:.1f} ms an image one by one, {zip_ms:.1f} ms from the zip")
    raise SystemExit(0 if passed else 1)


def report(n_images: int, n_clients: int, reference: float, single: float, zipped: float) -> bool:
    """Print the figures and whether each reaches its target; return whether all do."""
    rows = [
        ("plain loop: read, hash, decode", reference, "", True),
        (f"one by one, {n_clients} clients", single, f">= {SINGLE_TARGET_PER_S}/s", single >= SINGLE_TARGET_PER_S),
        (
            "one zip",
            zipped,
            f">= {ZIP_TARGET_RATIO} of the loop",
            zipped >= ZIP_TARGET_RATIO * reference,
        ),
    ]
    print(f"{n_images} images, {os.cpu_count()} cores")
    print(f"{'':34}{'images/s':>9}  {'ratio':>6}  target")
    for name, rate, target, is_reached in rows:
        verdict = f"{target}  {'PASS' if is_reached else 'FAIL'}" if target else "reference"
        print(f"{name:34}{rate:9.0f}  {rate / reference:6.2f}  {verdict}")
    return all(is_reached for *_, is_reached in rows)


if __name__ == "__main__":
    main()
