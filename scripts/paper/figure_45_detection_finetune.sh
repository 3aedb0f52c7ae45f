#!/usr/bin/env bash
# Figure 45: detection, transfer learning of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/figure_45_detection_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_det mode=finetune "$@"
marsbench status suite=paper_det mode=finetune "$@"
