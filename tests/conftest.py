"""One test session over all ranks of one launch.

    python -m pytest [-n 2]               serial tests, and parallel tests on one rank
    mpiexec -n 3 python -m pytest         tests with 3 in their ``@pytest.mark.parallel([1, 2, 3])``

After every phase of a parallel test the ranks agree on its outcome: a failure on any rank fails the test on all. A rank that has failed
while others wait for it elsewhere ends the job after `GRACE_S`; a hang ends it at the test's time limit, with the stacks of every rank.
"""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections import defaultdict
from functools import cache, cached_property
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from hpcml.mpi.launcher import detect

LAUNCH = detect()
GRACE_S = 10.0  # how much later than the failed rank the slowest may come, on a loaded machine
LINGER_S = 3.0  # before a rank ends the job: the others' time is up too, and they have stacks to print
LIMIT_S = 600.0  # per test, for a machine with eight times as much to do as it has cores; @pytest.mark.timeout(seconds) sets another
ROOT = Path(__file__).parents[1]
NOBODY = 65534  # user and group
STDERR, VERDICTS = pytest.StashKey(), pytest.StashKey()

hypothesis.settings.register_profile("serial", deadline=None)
hypothesis.settings.register_profile("ranks", deadline=None, derandomize=True, database=None)  # every rank draws the same examples
hypothesis.settings.load_profile("ranks" if LAUNCH.size > 1 else "serial")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.stash[STDERR] = os.dup(2)  # what pytest captures is lost when a rank dies
    config.addinivalue_line("markers", "parallel(sizes): the test runs on each of these numbers of ranks, selected by parallel[size]")
    config.addinivalue_line("markers", "gpu: the test wants a GPU, or the device that stands in for one in $HPCML_TEST_DEVICE")
    for size in range(1, 9):
        config.addinivalue_line("markers", f"parallel[{size}]: the test on {size} ranks")
    if config.option.timeout is None:
        config.option.timeout = LIMIT_S
    if config.pluginmanager.has_plugin("mpi-pytest"):
        config.pluginmanager.unregister(name="mpi-pytest")  # it reads the same mark in another way


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    if LAUNCH.rank > 0:
        session.config.get_terminal_writer()._file = Path(os.devnull).open("w")  # noqa: SIM115


def pytest_ignore_collect(collection_path):
    """Spare the ranks of a large launch to import what has no test for them."""
    if LAUNCH.size == 1 or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    marks = re.findall(r"mark\.parallel\((?:\[([\d, ]*)\]\))?", collection_path.read_text())
    selected = any(not sizes or str(LAUNCH.size) in sizes.replace(" ", "").split(",") for sizes in marks)  # "" stands for a name
    return None if selected else True


def pytest_report_header():
    if LAUNCH.size == 1:
        return "MPI: 1 rank"
    from mpi4py import MPI

    return f"MPI: {MPI.COMM_WORLD.size} ranks, {MPI.Get_library_version().splitlines()[0].strip()}"


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("parallel")
    if marker is None:
        return
    cases = [pytest.param(n, marks=getattr(pytest.mark, f"parallel[{n}]"), id=f"{n}-ranks") for n in marker.args[0]]
    metafunc.fixturenames.append("_ranks")
    metafunc.parametrize("_ranks", cases)


def pytest_collection_modifyitems(config, items):
    def size_of(item):
        return item.callspec.params["_ranks"] if item.get_closest_marker("parallel") else 1

    def runs_here(item):
        return size_of(item) == LAUNCH.size and (item.get_closest_marker("gpu") is None or _gpu() is not None)

    chosen, others = [], []
    for item in items:
        (chosen if runs_here(item) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen if LAUNCH.size > 1 else _longest_files_first(chosen)


def _longest_files_first(items):
    """What may take longest, then what launches ranks: a worker that began with it last would keep all others waiting."""
    length = defaultdict(lambda: (0.0, False))
    for item in items:
        limit = item.get_closest_marker("timeout")
        length[item.path] = max(length[item.path], (limit.args[0] if limit else 0.0, "mpiexec" in item.fixturenames))
    return sorted(items, key=lambda item: length[item.path], reverse=True)  # stable: tests of a file stay together, in their order


@cache
def _gpu():
    """The device of tests that want a GPU; None where there is none."""
    import torch

    name = os.environ.get("HPCML_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else None)
    return torch.device(name) if name else None


def pytest_collection_finish(session):
    """Set out together, with the same tests; what is there by now stays, and is no garbage that each search has to go through."""
    gc.collect()
    gc.freeze()
    if LAUNCH.size == 1:
        return
    from mpi4py import MPI

    comm = session.config.stash[VERDICTS] = MPI.COMM_WORLD.Dup()
    collected = comm.allgather((session.testsfailed, [item.nodeid for item in session.items]))
    if any(other != collected[0] for other in collected):
        raise pytest.UsageError(f"ranks collected different tests (failures, tests): {[(f, len(ids)) for f, ids in collected]}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if LAUNCH.size > 1:
        _agree(report, item.config)
    return report


def _agree(report, config):
    """Make the failure of any rank that of all: rank 0, which alone prints, shows the lowest failed rank's."""
    comm = config.stash[VERDICTS]
    arrival, start = comm.Ibarrier(), time.monotonic()
    while not arrival.Test():
        if report.failed and time.monotonic() - start > GRACE_S:
            _die(config, f"FAILED {report.nodeid} ({report.when}) on this rank, while others wait elsewhere:\n{report.longreprtext}")
        time.sleep(1e-4)
    crash = getattr(report.longrepr, "reprcrash", None)
    points = comm.allgather((report.nodeid, report.when, report.outcome))
    messages = comm.allgather((crash.message if crash else "", report.longreprtext) if report.failed else None)
    failed = [rank for rank, message in enumerate(messages) if message]
    if failed:
        message, text = messages[failed[0]]
        report.longrepr = f"failed on rank {failed[0]}: {message}\n{text}\nfailed on ranks {failed} of {comm.size}"
        report.outcome = "failed"
    elif len(set(points)) > 1:
        report.longrepr = f"ranks are not at the same point: {points}"
        report.outcome = "failed"


def _die(config, text):
    os.write(config.stash[STDERR], f"\n[rank {LAUNCH.rank} of {LAUNCH.size}] {text}\n".encode())
    time.sleep(LINGER_S)
    os._exit(1)  # a rank that leaves without MPI_Finalize: the launcher ends the others


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item, settings):
    """A signal handler of Python never runs inside an MPI call, so the time is kept by a thread."""
    if LAUNCH.size == 1:
        return None

    def hang():
        stack = traceback.format_stack(sys._current_frames()[threading.main_thread().ident])[-8:]
        _die(item.config, f"HANG {item.nodeid}: over {settings.timeout:g} s, at\n{''.join(stack)}")

    timer = threading.Timer(settings.timeout, hang)
    timer.daemon = True
    item.cancel_timeout = timer.cancel
    timer.start()
    return True


@pytest.fixture
def gpu():
    """Device of a test that is marked as one that wants a GPU."""
    return _gpu()


@pytest.fixture
def world():
    """The ranks of this launch; a test must hold on any number of them."""
    import hpcml.mpi

    return hpcml.mpi.world()


@pytest.fixture
def comm(world):
    return world.comm


@pytest.fixture
def rng(request):
    """NumPy generator that starts alike on every rank, on any number of ranks and in every run."""
    return np.random.default_rng(zlib.crc32(request.node.originalname.encode()))


@pytest.fixture
def shared_path(tmp_path, comm):
    """One temporary folder for all ranks."""
    return comm.bcast(tmp_path)


@pytest.fixture
def small_disk(tmp_path, mpiexec):
    """``small_disk(script, "size=2m")`` runs a shell script beside a file system of its own, ``$DISK``; gives the finished process."""
    unshare, disk = [shutil.which("unshare") or "unshare", "--map-root-user", "--mount", "sh", "-c"], tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o %s none {disk}"
    if not shutil.which("unshare") or subprocess.run([*unshare, mount % "size=1m"], capture_output=True).returncode:
        pytest.skip("a full disk needs a small one, and this system lets no user mount one (user namespaces are off)")

    def run(script, options="size=6m"):
        env = mpiexec.env | {"DISK": str(disk)}
        return subprocess.run([*unshare, f"{mount % options}\n{script}"], capture_output=True, text=True, timeout=100, env=env)

    return run


@pytest.fixture(scope="session")
def as_another_user():
    """``as_another_user(action)`` runs a function in a process of another user of this machine."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")

    def run(action):
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                action()
                status = 0
            finally:
                os._exit(status)  # not through pytest, which is the parent's
        assert os.waitpid(process, 0)[1] == 0, "the other user could not do what the test is about"

    return run


@pytest.fixture
def shared_folder():
    """A folder like ``/tmp``, in ``/tmp``: all may write, and rename and remove what is theirs."""
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def mpi_compilers():
    """Folder of ``mpicc`` and ``mpicxx`` of this Python's MPI: those of another would build what cannot run with it."""
    folder = Path(sys.executable).parent
    if not (folder / "mpicc").exists():
        pytest.skip("no mpicc beside this Python: the wheel impi-rt, for one, has neither compilers nor mpi.h")
    return folder


@pytest.fixture(scope="session")
def mpiexec():
    """``mpiexec(3, "script.py", ...)`` runs Python on 3 new ranks and returns the finished process with its output."""
    command = next((c for c in (Path(sys.executable).with_name("mpiexec"), shutil.which("mpiexec")) if c and Path(c).exists()), None)
    if command is None:
        pytest.skip("no mpiexec beside this Python or in PATH")
    with tempfile.TemporaryDirectory(prefix="launch-") as scratch:
        yield Mpiexec(str(command), scratch)


class Mpiexec:
    """The launcher of this Python's MPI, with an environment in which it starts more ranks than cores, and as root."""

    def __init__(self, path, scratch):
        self.path, self.scratch = path, scratch
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_COMM", "OMPI_WORLD", "PMI", "PRTE_L", "HYDI", "MPI_LOCAL"))}
        self._env = clean | {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMP_NUM_THREADS": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    @property
    def env(self):
        """With a folder for each launch: Open MPI names its own by its process id, and does not start where a killed one left that."""
        return self._env | {"PRTE_MCA_prte_tmpdir_base": tempfile.mkdtemp(dir=self.scratch)}

    def status(self, result):
        """Exit status of a job, or None where the launcher keeps it to itself: Intel MPI's often gives 255 for any after an abort."""
        return None if result.returncode == 255 and "Intel" in self.product else result.returncode

    @cached_property
    def product(self):
        """How the MPI of this Python calls itself; asked in another process, since here it may not have been started."""
        code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    def command(self, size, *args):
        return [self.path, "-n", str(size), sys.executable, *map(str, args)]

    def __call__(self, size, *args, timeout=500, env=None):
        process = subprocess.Popen(
            self.command(size, *args),
            env=self.env | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"{size} ranks of {args} still ran after {timeout} s\n{out}\n{err}")
        aborted = re.search(r"(?:MPI_ABORT was invoked.*?Errorcode: |^Abort\()(\d+)", err, re.DOTALL | re.MULTILINE)
        # After an abort Open MPI's launcher may crash (open-mpi/ompi#13650), and MPICH's may give the signal that it has sent to others.
        of_its_own = process.returncode in (-signal.SIGSEGV, signal.SIGKILL)
        return subprocess.CompletedProcess(process.args, int(aborted[1]) if of_its_own and aborted else process.returncode, out, err)
