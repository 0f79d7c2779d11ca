#!/bin/bash
# hpcml train on any Slurm cluster, one rank per core. Written by `hpcml job render train`; plain bash, yours to edit.
# About this site: https://slurm.schedmd.com/sbatch.html, not compared with it yet.
#SBATCH --job-name=case
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=32
#SBATCH --cpus-per-task=1
#SBATCH --time=1-12:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@180
#SBATCH --account=m1234

# shellcheck disable=SC2016,SC2317,SC2329  # values stay as they are, whatever they hold; the traps call what seems to be called by nobody
set -euo pipefail

job=$SLURM_JOB_ID starts_by_system=${SLURM_RESTART_COUNT:-0} nodes=$SLURM_JOB_NODELIST
restarts=$((starts_by_system + ${HPCML_RESTARTS:-0}))

# From the first line on: USR1 says that the time limit is near, TERM that the job is to end. Both make the run save after the step that it
# is at, and leave; after USR1 it goes on later.
notice='' notices=0 ranks=''
take_notice() {
  notice=${notice:-$1} notices=$((notices + 1))
  if [[ -n $ranks ]]; then kill -USR1 "$ranks" 2>/dev/null || true; fi  # never TERM: some launchers then kill the ranks
}
job_end() {
  local end
  end=$(squeue -h -j "$job" -o %e 2> /dev/null) && [[ -n $end ]] && date -d "$end" +%s
}
hear() {  # Slurm may send it up to a minute before the time that it was asked for: the run works until then
  local left
  left=$(($(job_end) - $(date +%s) - 180)) || left=0
  if [[ $postponed -eq 0 && $left -gt 0 && $left -le 60 ]]; then
    postponed=1 notices=$((notices + 1))
    (read -rt "$left" <> <(:) || kill -USR1 $$) > /dev/null 2>&1 &
  else
    take_notice later
  fi
}
postponed=0
trap hear USR1
trap 'take_notice never' TERM

set +u  # modules and environments look at variables that are not set
source /opt/hpcml/bin/activate
set -u
export HDF5_USE_FILE_LOCKING=FALSE
HPCML_JOB_END=$(job_end || true) && export HPCML_JOB_END  # no step is begun that would last longer
export OMP_NUM_THREADS=1 PYTHONFAULTHANDLER=1
export SRUN_CPUS_PER_TASK=1  # srun no longer takes over --cpus-per-task
export SLURM_KILL_BAD_EXIT=1  # a rank that dies ends the others, which would wait for it

run=runs/case
command=(hpcml train case.toml --run "$run" --set training.epochs=3)

echo "job ${job:-of no batch system}, start $((restarts + 1)), on $nodes, $(date)"
echo 'train on any Slurm cluster, one rank per core: nodes 4, ranks per node 32, threads per rank 1, time 1-12:00:00'
echo "hpcml: $(command -v hpcml || echo 'not found: activate its environment')"
printf '%q ' "${command[@]}" && echo

run_ranks() {  # sets $status
  local code seen said='' text=''
  status=85
  started=$(date +%s)
  if [[ -z $notice ]]; then
    srun "${command[@]}" &
    ranks=$!
    if [[ -n $notice ]]; then kill -USR1 "$ranks" 2>/dev/null || true; fi
    while seen=$notices; code=0; wait "$ranks" || code=$?; [[ $code -eq 127 && $seen -gt 0 ]] || status=$code; [[ $seen -ne $notices ]]; do
      :  # it was a notice that ended the wait, not the run
    done
  fi

  # Slurm tells the ranks that the job is preempted, but not the script.
  if [[ $status -ne 0 && -z $notice && $(squeue -h -j "$job" -O PreemptTime 2> /dev/null) == *[0-9]* ]]; then notice=later; fi

  # A launcher may return another status than that of its ranks: what the run says of this start of this job counts.
  if [[ -n $job && -r $run/status.json ]]; then text=$(<"$run/status.json"); fi
  if [[ $text == *'"job": "'"$job"'", "restart": '"$starts_by_system"','* ]]; then
    said=${text#'{"state": "'}
    said=${said%%'"'*}
  fi
  case $said in
    finished) status=0 ;;
    stopped) status=85 ;;
    failed) if [[ $text == *'"exit_status": 86,'* ]]; then status=86; elif [[ $status -eq 85 || $status -eq 0 ]]; then status=1; fi ;;
    running) status=86 ;;  # killed, or its node, whatever the launcher returns
    *) if [[ $status -ne 0 && $notice == later ]]; then status=85; fi ;;  # told before it could listen
  esac
  if [[ $status -eq 86 && $notice == later ]]; then status=85; fi
}

run_ranks

# 86: ranks are dead, or hang. That is worth another start only if this one has come to a checkpoint.
if [[ $status -eq 86 && -z $notice ]]; then
  if [[ -n $(find "$run" \( -name commit.json -o -name '*.hdf5' \) -newermt "@$started" -print -quit) ]]; then
    echo "ranks were lost: this job goes on from the last checkpoint" >&2
    status=85
  else
    echo "ranks were lost before the first checkpoint of this start: not started again" >&2
  fi
fi

# 85: stopped as asked, and to be gone on with by another start of the same script.
if [[ $status -eq 85 && $notice == never ]]; then
  echo "stopped as asked: submit this script again to go on" >&2
elif [[ $status -eq 85 && $restarts -ge 10 ]]; then
  echo "not started again: 10 restarts are used up; submit this script again to go on" >&2
elif [[ $status -eq 85 ]]; then
  if scontrol requeue "$job"; then exit 0; fi
  # Where that is forbidden, the next job of a chain goes on.
  scontrol write batch_script "$job" - | sbatch --dependency="afterany:$job" --export="ALL,HPCML_RESTARTS=$((restarts + 1))" && exit 0
  echo "neither requeued nor submitted again: submit this script again to go on" >&2
fi
exit "$status"
