#!/usr/bin/env bash
# Figures 31 to 33: classification by the size of the train split of the Mars-Bench paper: 6,300 runs.
#
#     scripts/paper/figure_31_33_classification_partitions.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_31_33 --only curves,tables -- \
    suite=paper_partitions task=classification "$@"
