#!/usr/bin/env bash
# Figure 46: detection, trained from scratch of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/figure_46_detection_scratch.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_det mode=scratch "$@"
marsbench status suite=paper_det mode=scratch "$@"
