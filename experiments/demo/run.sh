#!/usr/bin/env bash
# The whole method, small: a synthetic hospital network, trained on one hospital, tested on two others.
# usage: run.sh COVIDCT FOLDER      (make demo)
set -euo pipefail
covidct=$1
out=$2
started=$SECONDS
export WANDB_MODE=${WANDB_MODE:-offline}   # a demo asks nobody for an account

step() { printf '\n\033[1m$ covidct %s\033[0m\n' "$*"; "$covidct" "$@"; }

sites='split.external_sites=[site_b,site_c]'
step phantom out="$out/phantom" 'patients={site_a:24,site_b:8,site_c:8}' slices_per_patient=6 size=128 difficulty=0
step index data=phantom data.root="$out/phantom" data.index="$out/index" key="$out/pseudonym.key"
step split data=phantom data.index="$out/index" "$sites"
step train experiment=demo data.index="$out/index" runs="$out/runs"
run=$(ls -td "$out"/runs/demo-*/ | head -n 1)
step evaluate run="$run"
step readers run="$run" simulate=3 output="$out/reads.csv"
step readers run="$run" reads="$out/reads.csv"
printf '\n%s seconds. Open %sreport.html\nnext: %s audit run=%s    (a minute: disease, or a shortcut?)\n' $((SECONDS - started)) "$run" "$covidct" "$run"
