#!/usr/bin/env bash
# Figures 2 and 28: classification, feature extraction of the Mars-Bench paper: 315 runs.
#
#     scripts/paper/figure_02_28_classification_frozen.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
marsbench sweep suite=paper_cls mode=frozen "$@"
marsbench status suite=paper_cls mode=frozen "$@"
