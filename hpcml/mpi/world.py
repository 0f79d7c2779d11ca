"""The ranks that work together, each with its place on a node and its device."""

import sys
from functools import cached_property
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from hpcml.mpi import abort, gpu_aware, launcher
from hpcml.mpi.at_work import answer_roll_calls
from hpcml.mpi.call import named_call
from hpcml.mpi.meeting import meet
from hpcml.mpi.patient_comm import PatientComm, patient
from hpcml.mpi.start import MPI
from hpcml.mpi.threads import limit_threads

if TYPE_CHECKING:
    import torch


_world: "World | None" = None


class World:
    """A communicator of our own, and what each rank needs to know about where it runs.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        A clone: messages of hpcml never meet those of the caller. Its collective calls end with an error where a rank does not come to
        them, see `hpcml.mpi.patient_comm`.
    rank, size : int
        Of ``comm``.
    local_rank, local_size : int
        Among the ranks that share this node's memory.
    num_nodes : int
        Nodes that the ranks lie on.
    hosts : dict of int to str
        Name of the node of each rank, by its number in ``MPI.COMM_WORLD``.

    Communication
    -------------
    Building and closing are collective over the communicator.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> with World.of(MPI.COMM_SELF) as world:
    ...     world.rank, world.size, world.num_nodes
    (0, 1, 1)
    """

    @named_call
    def __init__(self, comm: MPI.Intracomm) -> None:
        self.comm = comm if isinstance(comm, PatientComm) else PatientComm(comm)
        self.rank, self.size = comm.rank, comm.size
        node = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = node.rank, node.size
        self.num_nodes: int = self.comm.allreduce(int(node.rank == 0))
        self.hosts: dict[int, str] = dict(self.comm.allgather((MPI.COMM_WORLD.rank, launcher.node_name())))
        self.threads = limit_threads(node)
        node.Free()

    @classmethod
    def of(cls, comm: MPI.Intracomm) -> "World":
        """Build the world of a caller's communicator, which stays the caller's."""
        return cls(patient(comm).Dup())

    @cached_property
    def device(self) -> "torch.device":
        """The GPU of this rank, or the CPU where there is none; see `hpcml.mpi.device.bind_device`."""
        from hpcml.mpi.device import bind_device

        return bind_device(self.local_rank)

    def close(self) -> None:
        """Free the communicator. Collective; closing twice does nothing."""
        if self.comm != MPI.COMM_NULL:
            self.comm.Free()
        global _world
        if _world is self:
            _world = None

    def __enter__(self) -> "World":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # the other ranks may never come to a collective Free
            self.close()

    def __repr__(self) -> str:
        return f"World(rank={self.rank}, size={self.size}, local_rank={self.local_rank}, num_nodes={self.num_nodes})"


def world() -> World:
    """Give the world of all ranks of this job; the same object at every call until it is closed.

    The first call starts MPI, compares its size with the launcher's, makes an uncaught exception on one rank the end of the job
    (see `hpcml.mpi.abort`), and decides whether MPI may be handed GPU memory (see `hpcml.mpi.gpu_aware`).

    Raises
    ------
    LaunchError
        If the launcher and the MPI library do not see the same number of ranks.
    CommunicationError
        If a rank does not come.

    Communication
    -------------
    The first call is collective over all ranks, later ones are local.

    Examples
    --------
    >>> import hpcml.mpi
    >>> hpcml.mpi.world() is hpcml.mpi.world()
    True
    """
    return _world if _world is not None else replace_world(_first_world())


def replace_world(other: World) -> World:
    """Let `world` give another one from now on.

    Communication
    -------------
    Local.
    """
    global _world
    _world = other
    return other


def _first_world() -> World:
    meet(MPI.COMM_WORLD, "hpcml.mpi.world")
    abort.install(MPI.COMM_WORLD)
    launcher.check(launcher.detect(), MPI.COMM_WORLD.size, mpi_library())
    gpu_aware.decide(MPI.COMM_WORLD)
    answer_roll_calls()
    return World(MPI.COMM_WORLD.Dup())


def mpi_library() -> str:
    """Name and version of the MPI library in use, such as ``MPICH 5.0.2``."""
    name, version = MPI.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"


class _CallableModule(ModuleType):
    """Lets ``hpcml.mpi.world()`` work although importing this module gives its name in the package to the module."""

    def __call__(self) -> World:
        return world()


sys.modules[__name__].__class__ = _CallableModule
