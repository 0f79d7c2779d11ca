#!/bin/bash
# hpcml train on any Flux cluster, one rank per core. Written by `hpcml job render train`; plain bash, yours to edit.
# About this site: https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man1/flux-batch.html, not compared with it yet.
#flux: --job-name=case
#flux: --nodes=4
#flux: --exclusive
#flux: --output=case-{{id}}.out
#flux: --time-limit=129600s
#flux: --bank=m1234

# shellcheck disable=SC2016,SC2317,SC2329  # values stay as they are, whatever they hold; the traps call what seems to be called by nobody
set -euo pipefail

job=$(flux getattr jobid) starts_by_system=0 nodes=$(flux getattr hostlist)
restarts=$((starts_by_system + ${HPCML_RESTARTS:-0}))

# From the first line on: USR1 says that the time limit is near, TERM that the job is to end. Both make the run save after the step that it
# is at, and leave; after USR1 it goes on later.
notice='' notices=0 ranks=''
take_notice() {
  notice=${notice:-$1} notices=$((notices + 1))
  if [[ -n $ranks ]]; then kill -USR1 "$ranks" 2>/dev/null || true; fi  # never TERM: some launchers then kill the ranks
}
trap 'take_notice later' USR1
trap 'take_notice never' TERM

# 180 s before the limit; unlike a sleep this ends with its shell.
(read -rt 129420 <> <(:) || kill -USR1 $$) > /dev/null 2>&1 &
timer=$!
trap 'kill "$timer" 2>/dev/null || true' EXIT

set +u  # modules and environments look at variables that are not set
source /opt/hpcml/bin/activate
set -u
export HDF5_USE_FILE_LOCKING=FALSE
HPCML_JOB_END=$(($(date +%s) + 129600)) && export HPCML_JOB_END  # no step is begun that would last longer
export OMP_NUM_THREADS=1 PYTHONFAULTHANDLER=1

run=runs/case
command=(hpcml train case.toml --run "$run" --set training.epochs=3)

echo "job ${job:-of no batch system}, start $((restarts + 1)), on $nodes, $(date)"
echo 'train on any Flux cluster, one rank per core: nodes 4, ranks per node 32, threads per rank 1, time 1-12:00:00'
echo "hpcml: $(command -v hpcml || echo 'not found: activate its environment')"
printf '%q ' "${command[@]}" && echo

status=85
started=$(date +%s)
if [[ -z $notice ]]; then
  flux run --nodes=4 --ntasks=128 "${command[@]}" &
  ranks=$!
  if [[ -n $notice ]]; then kill -USR1 "$ranks" 2>/dev/null || true; fi
  while seen=$notices; code=0; wait "$ranks" || code=$?; [[ $code -eq 127 && $seen -gt 0 ]] || status=$code; [[ $seen -ne $notices ]]; do
    :  # it was a notice that ended the wait, not the run
  done
fi

# A launcher may return another status than that of its ranks: what the run says of this start of this job counts.
said='' text=''
if [[ -n $job && -r $run/status.json ]]; then text=$(<"$run/status.json"); fi
if [[ $text == *'"job": "'"$job"'", "restart": '"$starts_by_system"','* ]]; then
  said=${text#'{"state": "'}
  said=${said%%'"'*}
fi
case $said in
  finished) status=0 ;;
  stopped) status=85 ;;
  failed) if [[ $text == *'"exit_status": 86,'* ]]; then status=86; elif [[ $status -eq 85 || $status -eq 0 ]]; then status=1; fi ;;
  running) if [[ $notice == later ]]; then status=85; else status=86; fi ;;  # killed, or its node, whatever the launcher returns
  *) if [[ $status -ne 0 && $notice == later ]]; then status=85; fi ;;  # told before it could listen
esac

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
  # Flux has no requeue for users: the next job of a chain goes on.
  flux --parent batch --dependency=afterany:"$job" --env=HPCML_RESTARTS=$((restarts + 1)) "$0" && exit 0
  echo "not submitted again: submit this script again to go on" >&2
fi
exit "$status"
