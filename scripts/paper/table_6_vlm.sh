#!/usr/bin/env bash
# Table 6: CLIP, SigLIP and SmolVLM, fine-tuned, of the Mars-Bench paper: 84 runs.
#
#     scripts/paper/table_6_vlm.sh root=/data/mars [launcher=slurm ...]
set -euo pipefail
. "$(dirname "$0")/study.sh"
study table_6 --only tables -- \
    suite=paper_vlm "$@"
