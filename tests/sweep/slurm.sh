#!/bin/sh
# A real Slurm of one node on this machine, and a sweep on it: the same numbers as in one process, also after a running
# task was preempted, cancelled and killed. Answers the question that the test suite cannot, whether `cluster.py` and
# Slurm understand each other; takes about four minutes.
#
# Needs root, Debian's packages
#     apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
# and `pip install -e '.[slurm]'`. Everything listens on the loopback only, is kept in a temporary folder, and ends with
# the script. There is no accounting, as on many small clusters: that a task has died can be seen in the queue alone.
#
#     sudo sh tests/sweep/slurm.sh [PYTHON]    (default .venv/bin/python, from the root of the repository)
set -eu

python=$(realpath -s "${1:-.venv/bin/python}")
folder=$(mktemp -d)
daemons=""
export SLURM_CONF="$folder/slurm.conf" OMP_NUM_THREADS=1

fail() { echo "slurm.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root, to start munged, slurmctld and slurmd"
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || fail "needs $program; see the packages at the top of this file"
done
"$python" -c "import submitit" 2>/dev/null || fail "needs submitit; pip install -e '.[slurm]'"

finish() {
    scancel --user root 2>/dev/null || true
    for daemon in $daemons; do kill "$daemon" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap finish EXIT

# --- the cluster

mkdir "$folder/state" "$folder/spool" "$folder/munge"
dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 2>/dev/null
chmod 755 "$folder"
chmod 400 "$folder/munge/key"
chown -R munge "$folder/munge"
runuser -u munge -- munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2>/dev/null &
daemons="$!"

cat >"$SLURM_CONF" <<END
ClusterName=one
SlurmctldHost=$(hostname)(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobRequeue=1
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
slurmctld -D -f "$SLURM_CONF" 2>/dev/null &
daemons="$daemons $!"
slurmd -D -f "$SLURM_CONF" -N "$(hostname)" 2>/dev/null &
daemons="$daemons $!"

wait_for() { # what, at most so many seconds, command
    what=$1 seconds=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        seconds=$((seconds - 1))
        [ "$seconds" -gt 0 ] || { tail -n 5 "$folder"/*.log >&2; fail "waited in vain for $what"; }
        sleep 1
    done
}
is_idle() { sinfo --noheader --format=%T | grep -qx idle; }
wait_for "the node to be idle" 60 is_idle
echo "a node of Slurm: $(sinfo --version), $(sinfo --noheader --format='%n %T, %c processors')"

# --- the sweep

sweep() { # results folder, further arguments
    results=$1; shift
    nice "$python" -m bench -m "results=$folder/$results" task.length=40 cell=tanh,lstm cell.hidden=16 seed=0,1,2 \
        updates=2000 evaluation.sequences=64 evaluation.final=64 checkpoint.seconds=1 "$@"
}
on_slurm() { sweep "$1" hydra.launcher.where=slurm +hydra.launcher.settings.timeout_min=60; }
same() {
    PYTHONPATH=tests/sweep "$python" -c '
import sys, pathlib, commands
one, other = map(pathlib.Path, sys.argv[1:])
commands.assert_same_results(one, other)
print(f"the same bits in {len(commands.directories(one))} runs")' "$folder/here" "$folder/$1"
}
is_kept() { ls "$folder/$1"/*/.checkpoint; }
task() { squeue --noheader --states=RUNNING --format=%A | head -n 1; }
disturbed() { # results folder, what is done to a running task once it has kept a checkpoint
    results=$1; shift
    on_slurm "$results" &
    command=$!
    wait_for "a checkpoint" 60 is_kept "$results"
    "$@" "$(task)"
    wait "$command" || { echo "exit code $?; the same command again"; on_slurm "$results"; }
    same "$results"
}
killed() { scontrol listpids "$1" | awk 'NR > 1 { print $1 }' | xargs kill -KILL; }

echo "--- in one process"
sweep here hydra.launcher.workers=0
echo "--- on Slurm"
on_slurm slurm
same slurm
echo "--- preempted: submitit queues the task again"
disturbed preempted scancel --signal=USR2
echo "--- cancelled: the task keeps its runs and ends, the command submits what is left"
disturbed cancelled scancel
echo "--- killed with all its processes: seen in the queue alone, tried again in halves"
disturbed killed killed
