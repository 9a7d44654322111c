#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests and for trying a profile.
#
#   envs/slurm_node.sh install      Debian's packages (root); no daemon is started
#   envs/slurm_node.sh start DIR    the cluster, all of it in DIR; prints the line to export
#   envs/slurm_node.sh stop DIR     its jobs and its daemons
#
# A real Slurm on this machine is left alone: /etc/slurm gets a link, if it has no slurm.conf, because
# jobs of Snakemake's plugin do not inherit SLURM_CONF. Two plain files stand in for two GPUs: jobs
# that ask for one are scheduled as on a real cluster.
set -euo pipefail
link=/etc/slurm/slurm.conf

packages() { grep -v '^#' "$(dirname "$0")/apt-slurm.txt"; }

install() {
  export DEBIAN_FRONTEND=noninteractive
  policy=/usr/sbin/policy-rc.d own=
  if [ ! -e "$policy" ]; then # or apt would start the daemons, which fails without systemd
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && own=1
  fi
  apt-get update -qq
  # shellcheck disable=SC2046
  apt-get install -y -qq --no-install-recommends $(packages) >/dev/null
  if [ -n "$own" ]; then rm -f "$policy"; fi
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

configure() {
  mkdir -p spool state log
  touch gpu0 gpu1
  head -c 1024 /dev/urandom >munge.key && chmod 0400 munge.key
  cores=$(getconf _NPROCESSORS_ONLN) # nproc would heed OMP_NUM_THREADS
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >slurm.conf <<CONF
ClusterName=pathai
SlurmctldHost=$node(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmdSpoolDir=$dir/spool
StateSaveLocation=$dir/state
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# ended jobs stay visible to squeue, which is asked because there is no accounting
MinJobAge=300
KillWait=5
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory Gres=gpu:fake:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  echo "NodeName=$node Name=gpu Type=fake File=$dir/gpu[0-1]" >gres.conf
}

# nobody may be there to collect a daemon that has ended
ended() { ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }

stop() {
  export SLURM_CONF=$dir/slurm.conf
  if [ -s slurmctld.pid ]; then timeout 20 scancel --state=PENDING --quiet --user="$(id -un)" || true
    timeout 20 scancel --quiet --user="$(id -un)" || true; sleep 1; fi
  for name in slurmd slurmctld munged; do
    [ -s "$name.pid" ] || continue
    pid=$(cat "$name.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do ended "$pid" && break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$name.pid"
  done
  if [ "$(readlink "$link")" = "$dir/slurm.conf" ]; then rm "$link"; fi
}

start() {
  node=$(hostname -s)
  if [ -e "$link" ] && [ "$(readlink "$link")" != "$dir/slurm.conf" ]; then
    echo "$link belongs to another cluster" >&2
    exit 1
  fi
  mkdir -p "${link%/*}" && ln -sfn "$dir/slurm.conf" "$link"
  [ -f slurm.conf ] || configure
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
  export SLURM_CONF=$dir/slurm.conf
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  for _ in $(seq 60); do
    if sinfo --noheader --format %T 2>/dev/null | grep -qE '^(idle|mixed|allocated)$'; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.5
  done
  echo "the node does not come up:" >&2
  tail -n 20 log/*.log >&2
  stop
  exit 1
}

case "${1:-}" in
install) install ;;
start | stop)
  mkdir -p "${2:?folder of the cluster}"
  cd "$2"
  dir=$(pwd)
  "$1"
  ;;
*)
  sed -n '2,10s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
