#!/usr/bin/env bash
# Figures 3 and 38: segmentation, feature extraction of the Mars-Bench paper: 224 runs.
#
#     scripts/paper/figure_03_38_segmentation_frozen.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_seg mode=frozen "$@"
marsbench status suite=paper_seg mode=frozen "$@"
