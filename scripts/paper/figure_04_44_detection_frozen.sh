#!/usr/bin/env bash
# Figures 4 and 44: detection, feature extraction of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/figure_04_44_detection_frozen.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_04_44 --only violins,ranks,heatmap,tables -- \
    suite=paper_det mode=frozen "$@"
