#!/bin/bash
# The same search on the nodes of a Slurm allocation, arguments as for `python -m tuner.search`:
#   sbatch --nodes=3 deploy/slurm.sh --space table5 --trials 200 --name night
#   sbatch --nodes=3 deploy/slurm.sh --resume --name night      # again, when the time was too short or a node failed
# Call it from the folder of the project; it must be at the same place on every node, and the virtual environment too.
# The results lie there in runs/, or where --runs says; only the first node writes them.
#SBATCH --job-name=crystune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --output=crystune-%j.log
set -euo pipefail

venv=${VENV:-$PWD/.venv}
nodes=$SLURM_JOB_NUM_NODES
read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000)) # others may run a Ray on these nodes too
# Other users reach Ray's ports: without a token they could run code in your name. This one ends with the job.
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$("$venv/bin/python" -c 'import secrets; print(secrets.token_hex(32))')
RAY_health_check_period_ms=2000 RAY_health_check_timeout_ms=4000 RAY_health_check_failure_threshold=3
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_health_check_period_ms RAY_health_check_timeout_ms
export RAY_health_check_failure_threshold
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun takes it from nowhere else
read -r ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
address=$ip:$port

search=
end() {
  trap - EXIT TERM
  # shellcheck disable=SC2046
  kill $(jobs -p) 2>/dev/null || true
  wait || true
}
trap end EXIT
over=
trap 'over=1; [ -z "$search" ] || kill -TERM "$search"' TERM # the time is over: the search ends in order, and can be resumed

start=("$venv/bin/ray" start --block --disable-usage-stats "--num-cpus=${SLURM_CPUS_PER_TASK:-1}")
srun --nodes=1 --ntasks=1 --nodelist="$head" \
  "${start[@]}" --head --port="$port" --temp-dir="/tmp/ray-$SLURM_JOB_ID" --include-dashboard=false &
first=$!
tries=0
until "$venv/bin/ray" status --address "$address" >/dev/null 2>&1; do
  kill -0 "$first" 2>/dev/null || { echo "error: Ray's head must start on $head; its output stands above" >&2; exit 1; }
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || { echo "error: Ray's head must answer at $address within two minutes" >&2; exit 1; }
  sleep 2
done
if [ "$nodes" -gt 1 ]; then
  srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" "${start[@]}" --address="$address" &
fi

"$venv/bin/python" -u -m tuner.search --address "$address" "$@" &
search=$!
[ -z "$over" ] || kill -TERM "$search" # it was over before that line
status=0
wait "$search" || status=$?
while kill -0 "$search" 2>/dev/null; do status=0; wait "$search" || status=$?; done # a TERM ends the first wait early
exit "$status"
