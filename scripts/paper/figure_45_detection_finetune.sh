#!/usr/bin/env bash
# Figure 45: detection, transfer learning of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/figure_45_detection_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_45 --only violins,ranks,heatmap,tables -- \
    suite=paper_det mode=finetune "$@"
