#!/usr/bin/env bash
# Figures 41 to 43: segmentation by the size of the train split of the Mars-Bench paper: 4,452 runs.
#
#     scripts/paper/figure_41_43_segmentation_partitions.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_41_43 --only curves,tables -- \
    suite=paper_partitions task=segmentation "$@"
