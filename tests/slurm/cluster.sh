#!/bin/bash
# A SLURM cluster of one node, this host, for tests: as root, on a fresh Debian machine, after
#
#   apt-get install -y slurm-wlm munge
#
#   tests/slurm/cluster.sh start        start it and wait until the node is idle
#   tests/slurm/cluster.sh stop         end it, with all jobs
#   tests/slurm/cluster.sh with COMMAND start it, run a command, and end it
#   tests/slurm/cluster.sh node-stop    stop slurmd alone, as a node that is lost; jobs go on
#   tests/slurm/cluster.sh node-start   start slurmd again
#
# Everything lies in one folder ($SLURM_TEST_FOLDER, else /tmp/marsbench-slurm); programs find the
# cluster through SLURM_CONF=FOLDER/slurm.conf. A cluster that is installed here is not touched.
set -euo pipefail

folder=${SLURM_TEST_FOLDER:-/tmp/marsbench-slurm}
port=${SLURM_TEST_PORT:-26817}
export SLURM_CONF=$folder/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

check() {
    [ "$(id -u)" = 0 ] || fail "slurmd starts jobs as their users: run this as root."
    local program missing=()
    for program in munged slurmctld slurmd sbatch srun; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} = 0 ] ||
        fail "there is no ${missing[*]}. Install them: apt-get install -y slurm-wlm munge"
}

configure() {
    mkdir -p "$folder"/{state,spool,munge}
    chmod 755 "$folder" "$folder"/{state,spool,munge}
    [ -s "$folder/munge.key" ] || head --bytes=1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    cat >"$SLURM_CONF" <<CONF
ClusterName=marsbench-test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until the permission of its former start has expired.
AuthInfo=socket=$folder/munge/socket,cred_expire=10
# No control groups: they are seldom ours in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# What is urgent makes others go, after 20 seconds in which they may do so by themselves.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5
JobRequeue=1
# A node that is lost is noticed, and taken back, within seconds.
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
KillWait=5
UnkillableStepTimeout=30
InactiveLimit=0
MinJobAge=3600
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
CONF
    echo "CgroupMountpoint=/sys/fs/cgroup" >"$folder/cgroup.conf"
}

start() {
    check
    if running slurmctld; then
        trap - EXIT
        fail "it runs already in $folder; stop it first."
    fi
    clear
    configure
    munged --force --socket="$folder/munge/socket" --key-file="$folder/munge.key" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
        --seed-file="$folder/munge.seed"
    slurmctld -c -f "$SLURM_CONF"
    node_start
}

node_start() {
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 60); do
        case "$(sinfo --noheader --format=%T 2>/dev/null)" in
            idle | mixed | allocated) return ;;
        esac
        sleep 1
    done
    tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    fail "the node is not idle after a minute: $(sinfo --noheader --format='%T %E' 2>&1)"
}

running() {
    [ -s "$folder/$1.pid" ] && kill -0 "$(<"$folder/$1.pid")" 2>/dev/null
}

# Remove the folder, if it is one of ours.
clear() {
    if grep -qs marsbench-test "$SLURM_CONF"; then
        rm -rf "$folder"
    elif [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
        trap - EXIT
        fail "$folder holds other things; name another with SLURM_TEST_FOLDER."
    fi
}

# End a daemon by the number it wrote down, and wait until it has gone.
end() {
    local number
    running "$1" || return 0
    number=$(<"$folder/$1.pid")
    kill "$number"
    for _ in $(seq 100); do
        kill -0 "$number" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$number" 2>/dev/null || true
}

stop() {
    if running slurmctld; then
        scancel --user=root --signal=KILL --full 2>/dev/null || true
        scancel --user=root 2>/dev/null || true
        for _ in $(seq 20); do
            [ -n "$(squeue --noheader 2>/dev/null)" ] || break
            sleep 1
        done
    fi
    end slurmd
    end slurmctld
    end munged
    clear
}

with() {
    [ $# -gt 0 ] || fail "with what?"
    trap stop EXIT
    trap 'exit 130' INT TERM
    start
    "$@"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    with) with "${@:2}" ;;
    node-stop) end slurmd ;;
    node-start) node_start ;;
    *) fail "say start, stop, with COMMAND, node-stop or node-start." ;;
esac
