#!/bin/bash
# hpcml bench on any Slurm cluster, one rank per core. Written by `hpcml job render bench`; plain bash, yours to edit.
# About this site: https://slurm.schedmd.com/sbatch.html, not compared with it yet.
#SBATCH --job-name=halo
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=32
#SBATCH --cpus-per-task=1
#SBATCH --time=1-12:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --account=m1234

# shellcheck disable=SC2016,SC2317,SC2329  # values stay as they are, whatever they hold; the traps call what seems to be called by nobody
set -euo pipefail

job=$SLURM_JOB_ID starts_by_system=${SLURM_RESTART_COUNT:-0} nodes=$SLURM_JOB_NODELIST
restarts=$((starts_by_system + ${HPCML_RESTARTS:-0}))

set +u  # modules and environments look at variables that are not set
source /opt/hpcml/bin/activate
set -u
export HDF5_USE_FILE_LOCKING=FALSE
export OMP_NUM_THREADS=1 PYTHONFAULTHANDLER=1
export SRUN_CPUS_PER_TASK=1  # srun no longer takes over --cpus-per-task
export SLURM_KILL_BAD_EXIT=1  # a rank that dies ends the others, which would wait for it

command=(hpcml bench halo)

echo "job ${job:-of no batch system}, start $((restarts + 1)), on $nodes, $(date)"
echo 'bench on any Slurm cluster, one rank per core: nodes 4, ranks per node 32, threads per rank 1, time 1-12:00:00'
echo "hpcml: $(command -v hpcml || echo 'not found: activate its environment')"
printf '%q ' "${command[@]}" && echo

# Without a checkpoint to go on from: what is started again, as after the loss of a node, begins anew.
exec srun "${command[@]}"
