#!/usr/bin/env bash
# Figure 39: segmentation, transfer learning of the Mars-Bench paper: 224 runs.
#
#     scripts/paper/figure_39_segmentation_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_seg mode=finetune "$@"
marsbench status suite=paper_seg mode=finetune "$@"
