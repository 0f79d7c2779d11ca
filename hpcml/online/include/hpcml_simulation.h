/* A solver in C or C++ that `hpcml online` runs: write the three functions below, build a shared library, and name it in the case.

       mpicc -O2 -shared -fPIC -I "$(python -c 'import hpcml.online; print(hpcml.online.get_include())')" rod.c -o librod.so

       [data]
       simulation = { name = "shared_library", path = "librod.so" }

   They are called on every rank that shares a simulation, in this order: simulation_begin once, simulation_step for each state,
   simulation_end once. A status other than 0 ends the simulation with an error that names the function and the status. */
#ifndef HPCML_SIMULATION_H
#define HPCML_SIMULATION_H

#include <mpi.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is to be simulated. It and what it points to stay until simulation_end. */
typedef struct hpcml_simulation {
  int32_t number;             /* of the simulation; what it and the parameters do not settle must not be random */
  int32_t num_dims;           /* of the grid */
  int32_t num_channels;       /* of a state: data.fields */
  int32_t num_parameters;     /* data.parameters */
  double interval;            /* time from one state to the next: data.interval */
  const double *parameters;   /* in the order of the case */
  const char *const *names;   /* of the parameters */
  const int64_t *shape;       /* cells of the whole grid, by dim */
  const int64_t *offset;      /* the first cell that is this rank's */
  const int64_t *local_shape; /* cells that are this rank's */
  const int64_t *dims;        /* ranks along each dim; those of comm lie on this grid in C order */
  int32_t fortran_comm;       /* comm as Fortran knows it */
  MPI_Comm comm;              /* ranks that share the simulation: no message of yours may be under way when a function returns */
} hpcml_simulation;

/* Prepare a simulation; *own is handed to the other two. */
int simulation_begin(const hpcml_simulation *about, void **own);

/* Write the next state of this rank's cells: (num_channels, local_shape), in C order. */
int simulation_step(void *own, double *state);

/* Free what simulation_begin has made. */
void simulation_end(void *own);

#ifdef __cplusplus
}
#endif

#endif
