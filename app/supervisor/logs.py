"""What the children say: all of it into files that rotate, the part a person must see onto the console."""

import re
import sys
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 5_000_000
N_OLD_FILES = 3

# A line with one of these words is shown, and so is what follows it until a line that has a level of its own.
_LEVEL = re.compile(rb"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_SHOWN_LEVELS = (b"WARNING", b"ERROR", b"CRITICAL")


class ChildLog:
    """One child's output: `home/logs/<name>.log`, with a copy of warnings, errors and tracebacks on the console."""

    def __init__(self, folder: Path, name: str, *, show_all: bool = False, quiet: bool = False) -> None:
        """Open the file.

        Args:
            folder: Made if absent.
            name: Name of the child, and of the file.
            show_all: Every line goes to the console.
            quiet: No line goes to the console; for programs whose warnings concern nobody here.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.path = folder / f"{name}.log"
        self.is_muted = False
        self._quiet = quiet
        self._show_all = show_all
        self._showing = False
        self._rest = b""
        self._file: BinaryIO = self.path.open("ab")

    def write(self, data: bytes) -> None:
        """Take what the child wrote, in pieces of any size."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write_line(line)

    def _write_line(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()
        if self._file.tell() > MAX_BYTES:
            self._rotate()
        if self._is_shown(line):
            print(f"{self.name:>10} | {line.decode(errors='replace')}", file=sys.stderr, flush=True)

    def _is_shown(self, line: bytes) -> bool:
        if self._quiet or self.is_muted or not line.strip():
            return False
        level = _LEVEL.search(line[:80])
        if level:
            self._showing = level.group(1) in _SHOWN_LEVELS
        elif line.startswith(b"Traceback"):
            self._showing = True
        return self._showing or self._show_all

    def _rotate(self) -> None:
        self._file.close()
        for n in range(N_OLD_FILES, 0, -1):
            older = self.path.with_suffix(f".log.{n}")
            newer = self.path.with_suffix(f".log.{n - 1}") if n > 1 else self.path
            if newer.exists():
                newer.replace(older)
        self._file = self.path.open("ab")

    def close(self) -> None:
        if self._rest:
            self.write(b"\n")
        self._file.close()
