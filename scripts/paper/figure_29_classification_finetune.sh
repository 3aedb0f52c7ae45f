#!/usr/bin/env bash
# Figure 29: classification, transfer learning of the Mars-Bench paper: 315 runs.
#
#     scripts/paper/figure_29_classification_finetune.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_cls mode=finetune "$@"
marsbench status suite=paper_cls mode=finetune "$@"
