#!/usr/bin/env bash
# The table of resize= in docs/measured.md: EfficientNet-Lite0, frozen, on the HiRISE landmark set,
# version 1, with both resizings; seeds of the default optimiser, weight decays of the optimum.
# Half an hour on two cores; features are encoded once for each resizing.
#
#   scripts/hirise_landmark_resize.sh ROOT [STORE]
#
# ROOT holds mb-landmark_cls/ in the published layout; STORE (default runs/) collects the records.
set -euo pipefail
root=${1:?usage: $0 ROOT [STORE]}
store=${2:-runs}
here=$(cd "$(dirname "$0")/.." && pwd)

run() {
  marsbench run task="$here/configs/tasks/hirise_landmark_v1.yaml" source=local root="$root" \
    store="$store" model=efficientnet_lite0 "$@"
}

for resize in square pretraining; do
  for seed in 0 1 2; do
    for subset in full partition_0.10 few_shot_5; do
      run resize="$resize" seed="$seed" subset="$subset"
    done
  done
  for decay in 0.05 0.01 0.001; do
    run resize="$resize" optim.name=lbfgs optim.weight_decay="$decay"
  done
  for subset in partition_0.10 few_shot_5; do
    run resize="$resize" optim.name=lbfgs optim.weight_decay=0.01 subset="$subset"
  done
done
marsbench results "$store" --format table
