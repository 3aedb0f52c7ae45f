#!/usr/bin/env bash
# Figures 3 and 38: segmentation, feature extraction of the Mars-Bench paper: 224 runs.
#
#     scripts/paper/figure_03_38_segmentation_frozen.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_03_38 --only violins,ranks,heatmap,tables -- \
    suite=paper_seg mode=frozen "$@"
