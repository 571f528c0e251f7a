#!/usr/bin/env bash
# The whole run on nodes of eight GPUs: `sbatch launch/slurm.sh`, from a checkout on a file system that all nodes see,
# after `make .venv/ready` on a login node. Submitted again, it goes on where it stopped.
# With `sbatch --nodes 2` stage one is spread over both nodes; stage two takes TRAIN_NODES of them, since an optimizer
# step has eight sequences and each GPU needs one.
#SBATCH --job-name=discnb
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=04:00:00
#SBATCH --output=discnb-%j.log
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
source .venv/bin/activate

PRESET=${PRESET:-stem_proof_1_7b}
TRAIN_NODES=${TRAIN_NODES:-1}
# the same for every call: a run's folder refuses other settings
run=(--preset "$PRESET" --run-dir "${RUN_DIR:-runs/$PRESET}" --set train.parallel=ddp)

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun no longer takes it from sbatch
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

# on_nodes COUNT STAGE: the stage on eight GPUs of each of so many nodes
on_nodes() {
    srun --nodes="$1" --ntasks="$1" --relative=0 \
        torchrun --nnodes "$1" --nproc-per-node 8 --rdzv-id "$SLURM_JOB_ID-$2" --rdzv-backend c10d \
        --rdzv-endpoint "$head:${PORT:-29500}" -m discnb "$2" "${run[@]}"
}

on_nodes "$SLURM_JOB_NUM_NODES" cache
on_nodes "$TRAIN_NODES" train
# evaluation, export and report are for one process; the finished stages are skipped
srun --nodes=1 --ntasks=1 --relative=0 discnb run "${run[@]}"
