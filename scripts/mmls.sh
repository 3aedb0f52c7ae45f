#!/usr/bin/env bash
# Landslides (mmls): three seeds of the preset, other modes, all seven bands, and other decoders.
#
#     scripts/mmls.sh ROOT [KEY=VALUE ...]
#
# ROOT is the folder that holds mb-mmls. Some three minutes a run on two cores. Records go to
# runs/mmls; finished runs are not repeated.
set -euo pipefail
root=${1:?the folder that holds mb-mmls}
shift

train() { marsbench run preset=mmls_unet root="$root" store=runs/mmls "$@"; }

for seed in 0 1 10; do
  train seed="$seed" "$@"
done
train mode=frozen "$@"
train mode=scratch "$@"
train bands=all "$@"
for decoder in upernet linear; do
  train model=efficientnet_lite0 decoder="$decoder" side=128 "$@"
done
marsbench results runs/mmls --format table
