#!/usr/bin/env bash
# Figure 30: classification, trained from scratch of the Mars-Bench paper: 315 runs.
#
#     scripts/paper/figure_30_classification_scratch.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_30 --only violins,ranks,heatmap,tables -- \
    suite=paper_cls mode=scratch "$@"
