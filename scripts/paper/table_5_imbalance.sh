#!/usr/bin/env bash
# Table 5: unequal classes, four tasks, feature extraction of the Mars-Bench paper: 560 runs.
#
#     scripts/paper/table_5_imbalance.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study table_5 --only imbalance,tables --reference -- \
    suite=paper_imbalance "$@"
