#!/usr/bin/env bash
# Figure 46: detection, trained from scratch of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/figure_46_detection_scratch.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_46 --only violins,ranks,heatmap,tables -- \
    suite=paper_det mode=scratch "$@"
