#!/usr/bin/env bash
# The table of docs/measured.md: EfficientNet-Lite0 on the HiRISE landmark set, version 1, five
# epochs in each mode, frozen with every strategy for unequal classes too, and frozen on two
# published subsets (five shots are one batch, so they get fifty epochs).
# Online, with augmentation; on cached features, `marsbench sweep suite=frozen_landmarks root=ROOT`
# has seeds, subsets and settings. Within the hour on two cores.
#
#   scripts/hirise_landmark_v1.sh ROOT [STORE]
#
# ROOT holds mb-landmark_cls/ in the published layout; STORE (default runs/) collects the records.
set -euo pipefail
root=${1:?usage: $0 ROOT [STORE]}
store=${2:-runs}
here=$(cd "$(dirname "$0")/.." && pwd)

run() {
  marsbench run task="$here/configs/tasks/hirise_landmark_v1.yaml" source=local root="$root" \
    store="$store" model=efficientnet_lite0 trainer.patience=null protocol=online "$@"
}

for imbalance in none loss_weight undersample oversample; do
  run mode=frozen trainer.max_epochs=5 imbalance="$imbalance"
done
run mode=frozen subset=few_shot_5 trainer.max_epochs=50
run mode=frozen subset=partition_0.10 trainer.max_epochs=5
run mode=finetune trainer.max_epochs=5
run mode=scratch trainer.max_epochs=5
marsbench results "$store" --format table
marsbench results "$store" --per-class recall --format table
