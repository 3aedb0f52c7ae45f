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
train 15 task=conequest_det model=yolo11n side=256 "$@"
train 15 task=dust_devil_det model=yolo11n side=256 "$@"
# Boulders are a twentieth of the image's side: at 256 pixels the network does not see them.
train 25 task=boulder_det model=yolo11n side=512 "$@"
marsbench results "$store" --format table
