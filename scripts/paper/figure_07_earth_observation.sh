#!/usr/bin/env bash
# Figure 7: Earth observation models by the size of the train split of the Mars-Bench paper: 672 runs.
#
#     scripts/paper/figure_07_earth_observation.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study figure_07 --only curves,tables --reference -- \
    suite=paper_earth_observation "$@"
