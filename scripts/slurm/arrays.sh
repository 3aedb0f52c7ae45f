#!/usr/bin/env bash
# The paper's classification runs as job arrays that marsbench submits; run this on a login node.
#
#     scripts/slurm/arrays.sh ROOT [KEY=VALUE ...]
#
# ROOT is the folder of the data, on a file system that the nodes share. The command returns at
# once; when the queue is empty, repeat it to submit the remaining runs. SBATCH_ACCOUNT is used.
set -euo pipefail
root=${1:?the folder of the data}
shift

marsbench sweep suite=paper_cls root="$root" store=runs/paper launcher=slurm \
  launcher.time=480 launcher.throttle=64 "$@"
