#!/usr/bin/env bash
# Figures 34 to 36: classification from a few samples of each class of the Mars-Bench paper: 5,040 runs.
#
#     scripts/paper/figure_34_36_few_shot.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_34_36 --only curves,tables -- \
    suite=paper_few_shot "$@"
