"""Solvers in C, C++ and Fortran, as the how-to has them, compiled here: they give the states of the same solver in Python."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hpcml.core.errors import ConfigError, SolverError
from hpcml.fields import Grid, decompose
from hpcml.online import get_include, shared_library

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "train_on_a_solver_in_c.md").read_text(encoding="utf-8")
CELLS, STATES = 11, 4
PARAMETERS = {"start": 0.3, "left": 1.0, "right": -0.5}
PLAIN = "-O2", "-shared", "-fPIC", "-ffp-contract=off"  # as NumPy, which fuses no multiplication with an addition


def code_in(language):
    return re.search(f"```{language}\n(.*?)```", HOWTO, re.DOTALL)[1]


def build(folder, compiler, *sources):
    """Compile; the library's path."""
    library = folder / "librod.so"
    built = subprocess.run(
        [compiler, *PLAIN, "-I", get_include(), *map(str, sources), "-o", str(library)], capture_output=True, text=True, cwd=folder
    )
    assert built.returncode == 0, built.stderr
    return str(library)


def written(path, code):
    path.write_text(code)
    return path


def expected():
    u, states = np.full(CELLS, PARAMETERS["start"]), []
    for _ in range(STATES):
        for _ in range(20):
            wide = np.concatenate([[PARAMETERS["left"]], u, [PARAMETERS["right"]]])
            u = u + 0.25 * (wide[2:] - 2 * u + wide[:-2])
        states.append(u)
    return np.stack(states)


def states_on(domain, library):
    made = shared_library(domain, PARAMETERS, ["u"], 3, 0.1, library)
    return np.stack([state[0].copy() for state in itertools.islice(made, STATES)])


@pytest.mark.parallel([1, 2, 3])
def test_the_solver_of_the_how_to_gives_the_bits_of_python_on_any_number_of_ranks(comm, shared_path, mpi_compilers):
    source = shared_path / "rod.c"
    library = comm.bcast(build(shared_path, mpi_compilers / "mpicc", written(source, code_in("c"))) if comm.rank == 0 else None)
    with decompose(Grid((CELLS,), periodic=False), comm) as domain:
        assert np.array_equal(states_on(domain, library), expected()[domain.index])


def test_c_plus_plus_gives_them_too(comm, tmp_path, mpi_compilers):
    library = build(tmp_path, mpi_compilers / "mpicxx", written(tmp_path / "rod.cpp", code_in("c")))
    with decompose(Grid((CELLS,), periodic=False), comm) as domain:
        assert np.array_equal(states_on(domain, library), expected())


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="gfortran is not installed, and no wheel brings it")
def test_fortran_gives_them_too(comm, tmp_path):
    sources = Path(get_include()) / "hpcml_simulation.f90", written(tmp_path / "rod.f90", code_in("fortran"))
    library = build(tmp_path, "gfortran", *sources)
    with decompose(Grid((CELLS,), periodic=False), comm) as domain:
        assert np.array_equal(states_on(domain, library), expected())


TOLD = """
#include <stdio.h>
#include <string.h>
#include "hpcml_simulation.h"
int simulation_begin(const hpcml_simulation *about, void **own) { *own = (void *)about; return about->parameters[0] > 0.5 ? 7 : 0; }
int simulation_step(void *own, double *state) {
  const hpcml_simulation *a = own;
  int size, result;
  MPI_Comm_size(a->comm, &size);
  MPI_Comm_compare(a->comm, MPI_Comm_f2c(a->fortran_comm), &result);
  double told[] = {a->number, a->num_dims, a->num_channels, a->num_parameters, a->interval, a->shape[0], a->shape[1], a->offset[1],
                   a->local_shape[0], a->dims[1], size, result == MPI_IDENT, !strcmp(a->names[1], "left"), a->parameters[2]};
  memcpy(state, told, sizeof told);
  return 0;
}
void simulation_end(void *own) { puts("ended"); fflush(stdout); }
"""


def test_a_solver_is_told_all_of_its_simulation_and_its_end(comm, tmp_path, capfd, mpi_compilers):
    library = build(tmp_path, mpi_compilers / "mpicc", written(tmp_path / "told.c", TOLD))
    with decompose(Grid((4, 5)), comm) as domain:
        made = shared_library(domain, PARAMETERS, ["u", "v"], 3, 0.1, library)
        state = next(made)
        made.close()
        assert state.shape == (2, 4, 5) and state.ravel()[:14].tolist() == [3, 2, 2, 3, 0.1, 4, 5, 0, 4, 1, 1, 1, 1, -0.5]
        assert capfd.readouterr().out == "ended\n"
        with pytest.raises(SolverError, match=r"simulation_begin of .*librod\.so gave the status 7"):
            next(shared_library(domain, PARAMETERS | {"start": 1.0}, ["u", "v"], 3, 0.1, library))
        assert capfd.readouterr().out == ""


def test_what_is_no_such_library_is_refused(comm, tmp_path, mpi_compilers):
    def begin(path):
        with decompose(Grid((4,)), comm) as domain:
            next(shared_library(domain, {}, ["u"], 0, 0.1, str(path)))

    with pytest.raises(ConfigError, match="there is no file .*it is relative to where the command runs"):
        begin(tmp_path / "librod.so")
    with pytest.raises(ConfigError, match="is no shared library that can be used here"):
        begin(written(tmp_path / "text.so", "text"))
    half = "int simulation_begin(void *a, void **b) { return 0; }"
    with pytest.raises(ConfigError, match="lacks the function simulation_step, which hpcml_simulation.h declares"):
        begin(build(tmp_path, mpi_compilers / "mpicc", written(tmp_path / "half.c", half)))
    whole = half + "int simulation_step(void *a, double *b) { return 0; } void simulation_end(void *a) {}"
    other = whole + 'int MPI_Get_library_version(char *text, int *n) { __builtin_strcpy(text, "Another MPI 1.0"); return 0; }'
    elsewhere = tmp_path / "elsewhere"  # a library that is loaded stays, whatever becomes of its file
    elsewhere.mkdir()
    with pytest.raises(ConfigError, match="was built with Another MPI 1.0, and this job runs on .*: build it with the mpicc of the latter"):
        begin(build(elsewhere, mpi_compilers / "mpicc", written(tmp_path / "other.c", other)))
