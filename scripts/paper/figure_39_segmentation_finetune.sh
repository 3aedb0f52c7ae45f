#!/usr/bin/env bash
# Figure 39: segmentation, transfer learning of the Mars-Bench paper: 224 runs.
#
#     scripts/paper/figure_39_segmentation_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_39 --only violins,ranks,heatmap,tables -- \
    suite=paper_seg mode=finetune "$@"
