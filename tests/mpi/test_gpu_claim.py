"""The table of what MPI libraries say of GPU memory, with the libraries that are not here as fakes."""

import pytest

from hpcml.mpi.gpu_claim import MpiFacts, claim

CRAY = {"product": "MPI VERSION    : CRAY MPICH version 8.1.28.2", "vendor": "MPICH", "version": (8, 1, 28)}
MPICH = {"product": "MPICH Version: 4.2.1", "vendor": "MPICH", "version": (4, 2, 1)}
OPEN_MPI = {"product": "Open MPI v5.0.3", "vendor": "Open MPI", "version": (5, 0, 3)}
QUERY, GPU_QUERY = "MPIX_Query_cuda_support", "MPIX_GPU_query_support"
UCX = frozenset({"libucp.so.0", "libuct_cuda.so.0"})

ROWS = {
    "Cray with all": (CRAY, {"environ": {"MPICH_GPU_SUPPORT_ENABLED": "1"}, "loaded": {"libmpi_gtl_cuda.so.0"}}, True),
    "Cray without its library": (CRAY, {"environ": {"MPICH_GPU_SUPPORT_ENABLED": "1"}, "queries": {QUERY: True}}, False),
    "Cray, not switched on": (CRAY, {"loaded": {"libmpi_gtl_cuda.so.0"}, "queries": {QUERY: True}}, False),
    "MVAPICH2-GDR": ({"product": "MVAPICH2 2.3.7", "vendor": "MVAPICH2", "version": (2, 3, 7)}, {"environ": {"MV2_USE_CUDA": "1"}}, True),
    "MVAPICH plus": ({"product": "MVAPICH 4.0", "vendor": "MVAPICH", "version": (4, 0)}, {"environ": {"MVP_USE_CUDA": "1"}}, True),
    "MVAPICH, not switched on": ({"product": "MVAPICH 4.0", "vendor": "MVAPICH", "version": (4, 0)}, {"queries": {QUERY: True}}, False),
    "MPICH says yes": (MPICH, {"queries": {GPU_QUERY: True}}, True),
    "MPICH says no": (MPICH, {"queries": {GPU_QUERY: False, QUERY: True}}, False),
    "MPICH, switched off": (MPICH, {"queries": {GPU_QUERY: True}, "environ": {"MPIR_CVAR_ENABLE_GPU": "0"}}, False),
    "MPICH without the function": (MPICH, {"standard": (4, 1), "kinds": "mpi,system,cuda:device"}, True),
    "MPICH 3": ({**MPICH, "version": (3, 4, 3)}, {}, False),
    "Open MPI says yes": (OPEN_MPI, {"queries": {QUERY: True}}, True),
    "Open MPI 4.0 was built with it": ({**OPEN_MPI, "version": (4, 0, 5)}, {"queries": {QUERY: True}}, True),
    "Open MPI says no, its UCX could": (OPEN_MPI, {"queries": {QUERY: False}, "loaded": UCX}, False),
    "Open MPI of conda, switched off": (OPEN_MPI, {"queries": {QUERY: True}, "environ": {"OMPI_MCA_opal_cuda_support": "false"}}, False),
    "Open MPI 5 repeats the kinds asked for": (OPEN_MPI, {"kinds": "mpi,system,cuda:device,cuda:host"}, False),
    "Open MPI 6 knows its kinds": ({**OPEN_MPI, "version": (6, 0, 0)}, {"standard": (4, 1), "kinds": "mpi,cuda:device"}, True),
    "UCX with CUDA among others": (OPEN_MPI, {"queries": {QUERY: True}, "loaded": UCX, "environ": {"UCX_TLS": "rc,cuda_copy"}}, True),
    "UCX with all": (OPEN_MPI, {"queries": {QUERY: True}, "loaded": UCX, "environ": {"UCX_TLS": "all"}}, True),
    "UCX with all but shared memory": (OPEN_MPI, {"queries": {QUERY: True}, "loaded": UCX, "environ": {"UCX_TLS": "^sm"}}, True),
    "UCX without CUDA": (OPEN_MPI, {"queries": {QUERY: True}, "loaded": UCX, "environ": {"UCX_TLS": "rc,sm"}}, False),
    "UCX with all but CUDA": (MPICH, {"queries": {GPU_QUERY: True}, "loaded": UCX, "environ": {"UCX_TLS": "^cuda_ipc,cuda_copy"}}, False),
    "UCX_TLS where UCX is not used": (MPICH, {"queries": {GPU_QUERY: True}, "environ": {"UCX_TLS": "rc,sm"}}, True),
    "a library that nobody knows": ({"product": "Fabulous MPI", "vendor": "", "version": (1,)}, {"queries": {QUERY: True}}, False),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_table(row):
    library, more, expected = ROWS[row]
    said = claim(MpiFacts(**library, **more))
    assert said.answer is expected
    assert said.reason


def test_a_refusal_says_what_is_missing():
    without_transport = MpiFacts(**CRAY, environ={"MPICH_GPU_SUPPORT_ENABLED": "1"})
    assert "link mpi4py with it, or name it in LD_PRELOAD" in claim(without_transport).reason
    its_ucx_could = MpiFacts(**OPEN_MPI, queries={QUERY: False}, loaded=UCX)
    assert "its UCX has CUDA, but sums over ranks would not" in claim(its_ucx_could).reason
    narrow = MpiFacts(**OPEN_MPI, queries={QUERY: True}, loaded=UCX, environ={"UCX_TLS": "rc,sm"})
    assert "UCX_TLS=rc,sm leaves CUDA out" in claim(narrow).reason


def test_the_library_of_this_process_is_asked():
    """A query that is not found would make a library that can one that cannot; all families have one."""
    facts = MpiFacts.of_this_process()
    assert facts.vendor.split()[0] in facts.product  # "Intel(R) MPI Library" is Intel MPI
    assert facts.queries
    assert any(name.startswith("libmpi") for name in facts.loaded)
