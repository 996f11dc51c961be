"""`python -m worker run --queue Q`, `beat` and `prepare`: what `kizu worker` and `kizu beat` become or begin."""

import argparse
import logging
import os
import socket
import sys
import warnings

from celery.signals import setup_logging

from app.core.logs import configure_logging

# A pool process that has ever grown beyond this is replaced after its task. One that fitted a classifier on frozen
# features stays below it and is kept: the next training need not import everything again.
PROCESS_MEMORY_KIB = {"gpu": 1_500_000, "cpu": 700_000}


def main() -> None:
    """Run a worker or the scheduler until a signal."""
    parser = argparse.ArgumentParser(prog="python -m worker")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--queue", required=True)
    run.add_argument("--slots", type=int, default=2)
    run.add_argument("--with-scheduler", action="store_true")
    commands.add_parser("beat")
    commands.add_parser("prepare")
    arguments = parser.parse_args()
    setup_logging.connect(lambda **_: configure_logging(), weak=False)
    configure_logging()
    match arguments.command:
        case "run":
            sys.exit(run_worker(arguments.queue, arguments.slots, with_scheduler=arguments.with_scheduler))
        case "prepare":
            prepare()
        case _:
            run_beat()


def run_worker(queue: str, n_slots: int, *, with_scheduler: bool) -> int:
    """Take the messages of one queue until a signal; return the exit code."""
    from worker.celery_app import SchedulerInside, load_tasks

    # Celery warns root because of pickled messages; ours are JSON only.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    celery = load_tasks()
    if with_scheduler:
        celery.steps["consumer"].add(SchedulerInside)
    if queue == "gpu":
        from worker.runtime import preparation

        preparation.start_where_needed()
    # Not through Celery's own command line, whose import costs each process 10 MB.
    worker = celery.Worker(
        hostname=f"{queue}-{os.getpid()}@{socket.gethostname()}",
        queues=[queue],
        pool="prefork",
        quiet=True,
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        concurrency=1 if queue == "gpu" else n_slots,
        max_memory_per_child=PROCESS_MEMORY_KIB[queue],
    )
    worker.start()
    return worker.exitcode or 0


def prepare() -> None:
    """Export the backbones that a first training would export otherwise."""
    from worker.runtime import preparation

    for backbone in preparation.export_all():
        logging.getLogger("worker").info("exported %s", backbone.card.name)


def run_beat() -> None:
    """Send what is due: the reaper every ten seconds."""
    from celery.apps.beat import Beat

    from worker.celery_app import LivingScheduler, celery

    Beat(app=celery, scheduler_cls=LivingScheduler, quiet=True, loglevel="INFO", schedule=os.devnull).run()


if __name__ == "__main__":
    main()
