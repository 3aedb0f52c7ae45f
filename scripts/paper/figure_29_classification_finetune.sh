#!/usr/bin/env bash
# Figure 29: classification, transfer learning of the Mars-Bench paper: 315 runs.
#
#     scripts/paper/figure_29_classification_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_29 --only violins,ranks,heatmap,tables -- \
    suite=paper_cls mode=finetune "$@"
