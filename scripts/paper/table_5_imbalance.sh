#!/usr/bin/env bash
# Table 5: unequal classes, four tasks, feature extraction of the Mars-Bench paper: 560 runs.
#
#     scripts/paper/table_5_imbalance.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_imbalance "$@"
marsbench status suite=paper_imbalance "$@"
