#!/usr/bin/env bash
# The report in reports/real: real data, the seeds and modes that two cores train within hours.
#
#     scripts/real_report.sh ROOT
#
# ROOT holds mb-landmark_cls (version 1), mb-mmls, mb-crater_det and ega_ms. Records go to runs/real;
# finished runs are not repeated.
set -euo pipefail
root=${1:?the folder that holds the data}
store=runs/real
here=$(cd "$(dirname "$0")/.." && pwd)
landmarks=$here/configs/tasks/hirise_landmark_v1.yaml

# Landmarks: frozen, all seeds and subsets; the other modes for a few epochs.
marsbench sweep suite=frozen_landmarks root="$root" store="$store" \
  optim.lr=0.001 optim.weight_decay=0.05
for mode in finetune scratch; do
  for seed in 0 1; do
    marsbench run task="$landmarks" root="$root" store="$store" model=efficientnet_lite0 \
      mode="$mode" seed="$seed" trainer.max_epochs=3 trainer.patience=null
  done
done

# Landslides.
for seed in 0 1 10; do
  marsbench run preset=mmls_unet root="$root" store="$store" seed="$seed"
done
for mode in frozen scratch; do
  marsbench run preset=mmls_unet root="$root" store="$store" mode="$mode"
done

# Craters: minutes from random weights.
marsbench run task="$here/configs/tasks/mixed_craters.yaml" root="$root" store="$store" \
  model=yolo11n mode=scratch side=320 trainer.max_epochs=40

# Minerals.
fold=(task=ega_ms root="$root" store="$store" folds=4 mode=scratch)
for model in logistic_regression kernel_logistic lightgbm; do
  marsbench run "${fold[@]}" model="$model"
done
for seed in 0 1 2 3; do
  marsbench run "${fold[@]}" model=boosted_stack seed="$seed"
done
for seed in 0 1; do
  for choice in "conv1d_net 1e-3" "gru_net 3e-3"; do
    read -r model rate <<< "$choice"
    marsbench run "${fold[@]}" model="$model" seed="$seed" optim.lr="$rate" draws=5 \
      trainer.max_epochs=40 trainer.checkpoint=last optim.batch_size=16 optim.weight_decay=0.01 \
      scheduler.name=cosine trainer.gradient_clip_val=1.0
  done
done

marsbench report "$store" --out reports/real
