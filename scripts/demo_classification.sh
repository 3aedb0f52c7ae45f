#!/usr/bin/env bash
# Every classification task, from scratch, on its demo data, to check that all run and learn.
#
#     scripts/demo_classification.sh [KEY=VALUE ...]      # e.g. trainer.accelerator=gpu
#
# ResNet-10t, a fixed budget without early stopping; some 40 minutes on two cores. Records go to
# runs/demo_classification; finished runs are not repeated.
set -euo pipefail
store=runs/demo_classification

train() {
  local epochs=$1
  shift
  marsbench run model=timm:resnet10t mode=scratch source=demo store="$store" \
    scheduler=cosine trainer.patience=null trainer.max_epochs="$epochs" "$@"
}

for task in frost_cls atmospheric_dust_cls_edr atmospheric_dust_cls_rdr change_cls_ctx \
  change_cls_hirise; do
  train 30 task="$task" "$@"
done
for task in landmark_cls domars16k surface_cls surface_multi_label_cls; do
  train 15 task="$task" "$@"
done
marsbench results "$store" --format table
