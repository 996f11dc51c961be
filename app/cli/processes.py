"""The long-running processes: web, predictor, worker, scheduler, and all of them together."""

import gc
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from app.core.logs import configure_logging
from app.settings import get_settings
from app.supervisor.children import QUEUES, beat_command, worker_command
from app.supervisor.config import SupervisorConfig
from app.supervisor.parent import prepare_child

GRACE_S = 3  # time that open requests have when the web process stops


def up(*, host: str | None, port: int | None, show_all: bool) -> None:
    """Become the supervisor: the memory of this process is given back by `exec`."""
    settings = get_settings()
    url = settings.sqlalchemy_url
    config = SupervisorConfig(
        home=str(settings.home),
        host=host or settings.host,
        port=settings.port if port is None else port,
        probe_host=trusted_host(settings.trusted_hosts),
        sqlite_path=url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None,
        redis_url=settings.redis_url,
        n_cpu_slots=default_slots(),
        show_all=show_all,
    )
    os.execv(sys.executable, [sys.executable, "-P", "-m", "app.supervisor", config.to_json()])


def trusted_host(trusted_hosts: list[str]) -> str:
    """Return a host name that the application answers to, for requests from this machine."""
    first = trusted_hosts[0] if trusted_hosts else "*"
    return "localhost" if first == "*" else first.replace("*", "localhost")


def default_slots() -> int:
    """Return how many tasks of the `cpu` queue run at once: two, so that a long one does not hold up the short ones."""
    return max(2, min(8, (os.cpu_count() or 2) // 2))


def web(*, host: str | None, port: int | None, fd: int | None, predictor_only: bool) -> None:
    """Serve until a signal. With `fd`, on a listening socket that the supervisor keeps."""
    import uvicorn

    from app.main import create_app

    configure_logging()
    settings = get_settings()
    config = uvicorn.Config(
        create_app(predictor_only=predictor_only),
        host=host or settings.host,
        port=settings.port if port is None else port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30,
    )
    gc.freeze()  # routes and modules live as long as the process: no collection need look at them again
    uvicorn.Server(config).run(sockets=None if fd is None else [socket.socket(fileno=fd)])


def worker(queues: list[str], slots: int | None) -> None:
    """Work on `queues`; more than one means a process for each, for they differ in how they isolate their tasks.

    Raises:
        SystemExit: A queue is unknown, or a worker ended with an error.
    """
    unknown = sorted(set(queues) - set(QUEUES))
    if unknown or not queues:
        raise SystemExit(f"There is no queue {', '.join(unknown)}; the queues are {', '.join(QUEUES)}.")
    commands = [worker_command(queue, slots or default_slots()) for queue in queues]
    if len(commands) == 1:
        os.execv(commands[0][0], commands[0])
    raise SystemExit(_run_together(commands))


def _run_together(commands: list[list[str]]) -> int:
    """Run processes until the first one ends; then end the others, and return its exit code."""
    processes = [
        subprocess.Popen(
            command,
            preexec_fn=partial(prepare_child, os.getpid()),  # noqa: PLW1509 - there is no second thread here
        )
        for command in commands
    ]

    def pass_on(number: int, _frame: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    for which in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(which, pass_on)
    pid, status = os.wait()
    for process in processes:
        if process.pid != pid:
            process.terminate()
            process.wait()
    return os.waitstatus_to_exitcode(status)


def beat() -> None:
    """Become the scheduler."""
    command = beat_command()
    os.execv(command[0], command)


def migrate() -> None:
    """Bring the database to the newest schema and create the first owner; a generated password is printed, once."""
    configure_logging()
    from app.accounts import service as account_service
    from app.db.migrate import migrate as migrate_database
    from app.db.session import get_engine, transaction

    settings = get_settings()
    Path(settings.home).mkdir(parents=True, exist_ok=True)
    migrate_database(get_engine())
    ensure_bucket()
    with transaction() as session:
        password = account_service.ensure_owner(session)
    if password:
        print("\n  The administrator's account (the password is shown this once):")
        print(f"    e-mail    {settings.admin_email}\n    password  {password}\n", flush=True)


def ensure_bucket() -> None:
    """Make the bucket that the settings name, where blobs go to an S3-compatible store and it is not there yet."""
    settings = get_settings()
    if settings.storage_url is None:
        return
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.s3_access_key.get_secret_value() if settings.s3_access_key else None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
    )
    bucket = urlsplit(settings.storage_url).netloc
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        client.create_bucket(Bucket=bucket)
