#!/usr/bin/env bash
# Figures 2 and 28: classification, feature extraction of the Mars-Bench paper: 315 runs.
#
#     scripts/paper/figure_02_28_classification_frozen.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_02_28 --only violins,ranks,heatmap,tables -- \
    suite=paper_cls mode=frozen "$@"
