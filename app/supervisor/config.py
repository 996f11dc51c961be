"""What `kizu up` hands to the supervisor process: plain data, so that the supervisor imports nothing heavy."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SupervisorConfig:
    """The settings that the supervisor needs.

    Attributes:
        home: `KIZU_HOME`, absolute.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        probe_host: `Host` header of our own health requests; must be one that the application trusts.
        sqlite_path: The database, where it is SQLite: then a cheap look tells whether there is anything to prepare.
        redis_url: A Redis that somebody else runs; None starts a private one.
        n_cpu_slots: Tasks of the `cpu` queue that run at once.
        show_all: Copy every line of every child to the console.
    """

    home: str
    host: str
    port: int
    probe_host: str
    sqlite_path: str | None
    redis_url: str | None
    n_cpu_slots: int
    show_all: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SupervisorConfig":
        return cls(**json.loads(text))
