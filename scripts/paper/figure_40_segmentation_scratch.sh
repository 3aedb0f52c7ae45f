#!/usr/bin/env bash
# Figure 40: segmentation, trained from scratch of the Mars-Bench paper: 224 runs.
#
#     scripts/paper/figure_40_segmentation_scratch.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_40 --only violins,ranks,heatmap,tables -- \
    suite=paper_seg mode=scratch "$@"
