#!/usr/bin/env bash
# EGA-MS, four folds within the train split: the benchmark, trees, networks, an image CNN, and all
# of them except the benchmark as ensembles: their mean, and with weights fitted on other folds.
#
#     scripts/ega_ms.sh ROOT [KEY=VALUE ...]      # ROOT holds ega_ms/; e.g. trainer.accelerator=gpu
#
# All settings were fixed in advance; nothing is chosen on scored samples. Records go to
# runs/ega_ms; finished runs are not repeated.
set -euo pipefail
root=${1:?the folder that holds ega_ms}
shift
store=runs/ega_ms

runs=()
fold() {
  local line
  line=$(marsbench run task=ega_ms root="$root" folds=4 store="$store" --format json "$@" | tail -n 1)
  echo "$line"
  runs+=("$(sed 's/.*"run_id": "\([^"]*\)".*/\1/' <<< "$line")")
}
network() {
  fold trainer.checkpoint=last optim.batch_size=16 optim.weight_decay=0.01 \
    scheduler.name=cosine trainer.gradient_clip_val=1.0 "$@"
}

fold mode=scratch model=logistic_regression "$@"
fold mode=scratch model=kernel_logistic "$@"
fold mode=scratch model=lightgbm "$@"
for seed in 0 1 2 3; do
  fold mode=scratch model=boosted_stack seed=$seed "$@"
done
for seed in 0 1; do
  network mode=scratch model=conv1d_net seed=$seed trainer.max_epochs=40 optim.lr=1e-3 draws=5 "$@"
  network mode=scratch model=gru_net seed=$seed trainer.max_epochs=40 optim.lr=3e-3 draws=5 "$@"
done
for seed in 1 2; do
  network mode=scratch model=conv1d_net seed=$seed raster=ega_first_place trainer.max_epochs=80 \
    optim.lr=1e-3 draws=8 "$@"
done
network mode=scratch model=gru_net raster=ega_first_place trainer.max_epochs=80 optim.lr=3e-3 \
  draws=8 "$@"
network mode=finetune model=efficientnet_lite0 trainer.max_epochs=20 optim.lr=5e-4 draws=16 "$@"
# The first is the benchmark.
marsbench ensemble --store "$store" "${runs[@]:1}"
marsbench ensemble --store "$store" --weights fitted "${runs[@]:1}"
marsbench results "$store" --format table
