"""`python -m worker run --queue Q --slots N` and `python -m worker beat`: what `kizu worker` and `kizu beat` become."""

import argparse
import os
import warnings

from celery.signals import setup_logging

from app.core.logs import configure_logging

CPU_PROCESS_MEMORY_KIB = 700_000  # a pool process that has grown beyond this is replaced after its task


def main() -> None:
    """Run a worker or the scheduler until a signal."""
    parser = argparse.ArgumentParser(prog="python -m worker")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--queue", required=True)
    run.add_argument("--slots", type=int, default=2)
    commands.add_parser("beat")
    arguments = parser.parse_args()
    setup_logging.connect(lambda **_: configure_logging(), weak=False)
    configure_logging()
    if arguments.command == "run":
        run_worker(arguments.queue, arguments.slots)
    else:
        run_beat()


def run_worker(queue: str, n_slots: int) -> None:
    """Take the messages of one queue."""
    from worker.celery_app import load_tasks

    # Celery warns root because of pickled messages; ours are JSON only.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    load_tasks().worker_main(worker_arguments(queue, n_slots))


def worker_arguments(queue: str, n_slots: int) -> list[str]:
    """Return the Celery command line for one queue."""
    arguments = ["--quiet", "worker", "--pool=prefork", f"--queues={queue}", f"--hostname={queue}-{os.getpid()}@%h"]
    arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
    if queue == "gpu":
        # A process a task: it frees the device's memory, and a crash takes nothing else with it.
        return [*arguments, "--concurrency=1", "--max-tasks-per-child=1"]
    return [*arguments, f"--concurrency={n_slots}", f"--max-memory-per-child={CPU_PROCESS_MEMORY_KIB}"]


def run_beat() -> None:
    """Send what is due: the reaper every ten seconds."""
    from celery.apps.beat import Beat

    from worker.celery_app import LivingScheduler, celery

    Beat(app=celery, scheduler_cls=LivingScheduler, quiet=True, loglevel="INFO", schedule=os.devnull).run()


if __name__ == "__main__":
    main()
