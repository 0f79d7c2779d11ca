"""A rank whose launcher has died ends: nobody would tell it to stop, nor whether the other ranks still live.

What was saved last is kept: the process beside the rank that holds it brings it to disk, as after any death.
"""

import os
import select
import sys
import threading
from contextlib import suppress
from pathlib import Path

from hpcml.mpi.launcher import detect

_MARKS = ("OMPI_COMM_WORLD_RANK", "PMIX_NAMESPACE", "PMIX_RANK", "PMI_FD", "PMI_RANK", "SLURM_STEP_ID", "SLURM_PROCID")
"""What launchers tell each rank, and nobody else of the same job."""
_watching: int | None = None


def watch_launcher() -> None:
    """End this process when its launcher dies; without a launcher, or where that cannot be seen, do nothing. Further calls do nothing.

    Communication
    -------------
    Local: a thread that sleeps until then.
    """
    global _watching
    if _watching == os.getpid() or detect().launcher == "none":
        return
    _watching, launcher = os.getpid(), find_launcher()
    if launcher is None:
        return
    try:
        descriptor = os.pidfd_open(launcher)
    except OSError:  # another kind of system
        return
    threading.Thread(target=_wait, args=(descriptor, launcher, os.getpid()), daemon=True, name="hpcml-launcher").start()


def find_launcher() -> int | None:
    """The process that started this rank: the nearest ancestor that is not told a rank itself, as scripts between them are; else None.

    Communication
    -------------
    Local.
    """
    mine = {name: os.environ[name] for name in _MARKS if name in os.environ}
    process = os.getppid()
    while process > 0:
        try:
            words = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
            environment = dict(word.split("=", 1) for word in words if "=" in word)
            status = Path(f"/proc/{process}/stat").read_text(errors="replace")
        except PermissionError:  # of the system, such as Slurm's
            return process
        except OSError:
            return None
        if any(environment.get(name) != value for name, value in mine.items()):
            return process
        process = int(status.rpartition(")")[2].split()[1])
    return None


def _wait(descriptor: int, launcher: int, rank_process: int) -> None:
    end = select.poll()  # and not `select.select`, which takes no descriptor above 1023
    end.register(descriptor, select.POLLIN)
    end.poll()
    if os.getpid() == rank_process:
        with suppress(OSError, ValueError):  # the launcher was at the other end of this line, most often
            sys.stderr.write(f"hpcml: error: the launcher (process {launcher}) has died: this rank ends; what was saved last is kept\n")
            sys.stderr.flush()
        os._exit(1)
