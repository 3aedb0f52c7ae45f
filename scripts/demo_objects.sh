#!/usr/bin/env bash
# Every segmentation and detection task, from scratch, on its demo data: does everything run, and
# learn?
#
#     scripts/demo_objects.sh [KEY=VALUE ...]      # e.g. trainer.accelerator=gpu
#
# A fixed budget without early stopping, on small images so that two cores do. The detector needs
# the extra `yolo`. Records go to runs/demo_objects; finished runs are not repeated.
set -euo pipefail
store=runs/demo_objects

train() {
  local epochs=$1
  shift
  marsbench run mode=scratch source=demo store="$store" optim.batch_size=8 \
    trainer.patience=null trainer.max_epochs="$epochs" "$@"
}

for task in boulder_seg conequest_seg crater_binary_seg crater_multi_seg mars_seg_mer \
  mars_seg_msl mmls s5mars; do
  train 12 task="$task" model=unet_lite0 loss=combined side=128 "$@"
done
for task in boulder_det conequest_det dust_devil_det; do
  train 15 task="$task" model=yolo11n side=256 "$@"
done
marsbench results "$store" --format table
