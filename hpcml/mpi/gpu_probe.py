"""Let MPI touch GPU memory where a crash costs nothing: in processes of its own, before any rank of the job does.

``python -m hpcml.mpi.gpu_probe`` is what they run. A library that says yes and cannot is a segmentation fault there, and a no here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpcml.core.json_text import parse_json
from hpcml.core.own_process import own_process
from hpcml.mpi.gpu_claim import Claim, MpiFacts, claim
from hpcml.mpi.start import MPI

if TYPE_CHECKING:
    import torch

PROBE_LIMIT_S = 60.0
"""How long the processes may take: they import torch, on a cold and shared file system too."""
SIZES = (4096, 1 << 22)
"""Bytes that go to and fro: below and above what libraries send without asking the receiver first."""
_SEGMENT = "segment "
_LAUNCHERS = ("OMPI_COMM", "OMPI_WORLD", "PMI", "PRTE", "PRRTE", "HYD", "MPI_LOCAL", "SLURM", "PALS", "FLUX")


def probe(limit_s: float = PROBE_LIMIT_S, command: Sequence[str] | None = None) -> tuple[Claim, bool]:
    """Send GPU memory between two new processes, or from one to itself where no launcher is at hand, and sum it over them.

    Parameters
    ----------
    limit_s : float
        After which the processes are ended.
    command : sequence of str, optional
        What to run instead of this module.

    Returns
    -------
    found : Claim
        Yes only if all came back right.
    final : bool
        Whether another try would give the same: not for one that ran out of time or could not be started.

    Communication
    -------------
    None of this job's: the processes are started without the launcher's variables, so they form a world of their own.
    """
    module, added = own_process("hpcml.mpi.gpu_probe")
    for words in [command] if command else [*([[*pair, *module]] if (pair := _launcher()) else []), module]:
        found, final = _read(*_run(words, limit_s, added))
        if final:
            break  # a launcher that does not start here says nothing about the library
    return found, final


def ask(limit_s: float = PROBE_LIMIT_S) -> Claim:
    """What the library claims when a new process starts it: many login nodes end a process that does.

    Communication
    -------------
    None of this job's.
    """
    command, added = own_process("hpcml.mpi.gpu_probe", "claim")
    status, output = _run(command, limit_s, added)
    try:
        return Claim(**parse_json(output.splitlines()[-1]))
    except (ValueError, TypeError, IndexError):
        return Claim(False, f"MPI does not start here: {_last(output)} (status {status})")


def _launcher() -> list[str] | None:
    """The ``mpiexec`` beside this Python or first in PATH, told to start two processes."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    return [found, "-n", "2"] if found else None


def _run(command: Sequence[str], limit_s: float, added: Mapping[str, str]) -> tuple[int | None, str]:
    """Status, None without one, and output of a command that knows nothing of this job and is ended after the limit."""
    clean = {name: value for name, value in (os.environ | added).items() if not name.startswith(_LAUNCHERS)}
    clean["PRTE_MCA_rmaps_default_mapping_policy"] = ":oversubscribe"
    with tempfile.TemporaryFile() as output:  # a pipe would be held open by a grandchild that outlives the launcher
        try:
            process = subprocess.Popen(
                command, env=clean, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            return None, f"the probe could not be started: {error}"
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
        output.seek(0)
        text = output.read().decode(errors="replace")
        for line in text.splitlines():
            if line.startswith(_SEGMENT):  # those still there are nobody's any more
                with suppress(OSError):
                    Path(line.removeprefix(_SEGMENT)).unlink()
        return status, text if status is not None else f"the probe did not end within {limit_s:g} s"


def _read(status: int | None, output: str) -> tuple[Claim, bool]:
    """Read off what the processes printed: a line when they began to touch GPU memory, one when all was right."""
    lines = output.splitlines()
    if status is None:
        return Claim(False, output), False
    if status == 0 and "right" in lines:
        return Claim(True, "GPU memory was sent and summed in a probe"), True
    if "begin" in lines:
        how = "came back wrong" if "wrong" in lines else f"ended the processes with status {status}"
        return Claim(False, f"GPU memory {how} in a probe"), True
    return Claim(False, f"the probe could not begin: {_last(output)} (status {status})"), False


def _last(output: str) -> str:
    return next((line.strip()[:200] for line in reversed(output.splitlines()) if line.strip()), "no output")


def transfer(comm: "MPI.Intracomm", device: "torch.device") -> bool:
    """Send, receive and sum a device's memory; tell whether all of it came back right on every rank.

    Communication
    -------------
    Collective.
    """
    import torch

    right, peer = True, comm.size - 1 - comm.rank
    for size in SIZES:
        pattern = torch.arange(size // 4, dtype=torch.int32, device=device)
        sent, received = pattern + comm.rank, torch.zeros_like(pattern)
        _finish(device)
        comm.Sendrecv(sent, peer, recvbuf=received, source=peer)
        right &= torch.equal(received, pattern + peer)
        _finish(device)
        comm.Allreduce(MPI.IN_PLACE, received, MPI.SUM)
        right &= torch.equal(received, pattern * comm.size + sum(range(comm.size)))
    return bool(comm.allreduce(right, MPI.LAND))


def announce(beginning: str = "begin") -> None:
    """Print which files of shared memory this process maps, for whoever comes after it, and that it begins to touch GPU memory.

    Open MPI leaves its file behind where no launcher looks after it, and every library does after a crash.

    Communication
    -------------
    Local.
    """
    maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
    mapped = {line[line.index("/dev/shm/") :] for line in maps.splitlines() if "/dev/shm/" in line}
    print(*(f"{_SEGMENT}{path}" for path in sorted(mapped)), beginning, sep="\n", flush=True)


def _finish(device: "torch.device") -> None:
    """MPI knows nothing of the stream that writes its buffers."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(words: Sequence[str]) -> int:
    """Touch GPU memory, or with the word ``claim`` only print what the library claims, as JSON.

    Communication
    -------------
    All processes that were started with it.
    """
    if words == ["claim"]:
        said = claim(MpiFacts.of_this_process())
        announce(json.dumps({"answer": said.answer, "reason": said.reason}))
        return 0
    import torch

    if not torch.cuda.is_available():
        print("torch sees no GPU", flush=True)
        return 1
    device = torch.device("cuda", MPI.COMM_WORLD.rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    torch.zeros(1, device=device)
    announce()
    right = transfer(MPI.COMM_WORLD, device)
    print("right" if right else "wrong", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
