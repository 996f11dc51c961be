"""The commands of `./kizu`, each a few lines that call the module which does the work."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="kizu",
    help="Kizu: teach a vision model to see your defects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
key_app = typer.Typer(help="API keys.", no_args_is_help=True, rich_markup_mode=None)
user_app = typer.Typer(help="People.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key_app, name="key")
app.add_typer(user_app, name="user")

Host = Annotated[str | None, typer.Option(help="Address to listen on.  [KIZU_HOST]")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.  [KIZU_PORT]")]


class DemoType(StrEnum):
    """What a demonstration is about, in the words of a person; a type of project each."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    ANOMALY = "anomaly"


def main() -> None:
    """Run the command line."""
    use_home()
    app()


def use_home() -> None:
    """Make `KIZU_HOME` absolute for this process and its children, and find the private Redis of a running Kizu."""
    home = os.environ.get("KIZU_HOME")
    if home:
        os.environ["KIZU_HOME"] = str(Path(home).expanduser().resolve())
    if "KIZU_REDIS_URL" in os.environ:
        return
    from app.settings import get_settings
    from app.supervisor.private_redis import find_url

    url = find_url(get_settings().run_dir)
    if url:
        os.environ["KIZU_REDIS_URL"] = url
        get_settings.cache_clear()


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every line of every process.")] = False,
) -> None:
    """Start everything on this machine, and stop it together with Ctrl-C."""
    from app.cli import processes
    from app.settings import get_settings

    # A Redis found in the records of a run that ended is not one to use.
    from app.supervisor.private_redis import find_url

    if os.environ.get("KIZU_REDIS_URL") == find_url(get_settings().run_dir):
        os.environ.pop("KIZU_REDIS_URL", None)
        get_settings.cache_clear()
    processes.up(host=host, port=port, show_all=verbose)


@app.command()
def web(host: Host = None, port: Port = None, fd: Annotated[int | None, typer.Option(hidden=True)] = None) -> None:
    """Serve pages, REST and predictions."""
    from app.cli import processes

    processes.web(host=host, port=port, fd=fd, predictor_only=False)


@app.command()
def predictor(host: Host = None, port: Port = None) -> None:
    """Serve predictions alone."""
    from app.cli import processes

    processes.web(host=host, port=port, fd=None, predictor_only=True)


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help="Queues to work on, separated by commas.")] = "gpu,cpu",
    slots: Annotated[int | None, typer.Option(min=1, help="Tasks of the cpu queue at once.")] = None,
) -> None:
    """Work on jobs: train, export, import, thumbnails."""
    from app.cli import processes

    processes.worker([name.strip() for name in queues.split(",") if name.strip()], slots)


@app.command()
def beat() -> None:
    """Run the scheduler. One an installation."""
    from app.cli import processes

    processes.beat()


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema; the first time, create the administrator."""
    from app.cli import processes

    processes.migrate()


@app.command()
def health(
    part: Annotated[
        str | None, typer.Option(help="worker-gpu, worker-cpu or scheduler; unset: the web process on this machine.")
    ] = None,
    port: Port = None,
) -> None:
    """End with 0 when healthy, else with 1; for container health checks."""
    from app.cli import health as healths

    raise typer.Exit(0 if healths.is_healthy(part, port) else 1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run all checks and tests, or hand PATH... and options to pytest."""
    from app.cli import testing

    raise typer.Exit(testing.run(context.args))


@app.command()
def demo(
    type: Annotated[  # noqa: A002 - the name of the option
        DemoType, typer.Option(help="Of the project.")
    ] = DemoType.CLASSIFICATION,
    folder: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Pictures and labels; unset: solar cells, for classification alone."
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Make a project from real images, train a model on it, deploy it and call it."""
    from app.cli import demo as demonstration

    demonstration.run(host=host, port=port, task=demonstration.TASKS[type.value], folder=folder)


@app.command()
def backup(
    output: Annotated[Path | None, typer.Option(help="The tar file to write; unset: one in KIZU_HOME/backups.")] = None,
) -> None:
    """Write database and files into one tar file; Kizu may run meanwhile."""
    from app.cli import backup as backups

    print(f"Written: {backups.write(output)}")


@key_app.command("create")
def key_create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    role: Annotated[str | None, typer.Option(help="At most this role; unset: the owner's.")] = None,
    email: Annotated[str | None, typer.Option(help="Whom the key acts for; unset: the first owner.")] = None,
) -> None:
    """Create an API key and print it, once."""
    from app.cli import accounts

    print(accounts.create_key(name=name, role=role, email=email))


@user_app.command("add")
def user_add(
    email: str,
    name: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[str, typer.Option(help="owner, admin, member, labeler or viewer.")] = "member",
) -> None:
    """Add a person and print their first password, once."""
    from app.cli import accounts

    print(accounts.add_user(email=email, name=name, role=role))


@user_app.command("reset-password")
def user_reset_password(email: str) -> None:
    """Give a person a new password, print it once, and end their sign-ins."""
    from app.cli import accounts

    print(accounts.reset_password(email=email))
