#!/bin/bash
# Training on several nodes, requeued before its time is up: sbatch experiments/slurm.sh experiments/crps_sr.yaml
#
# Lightning sees Slurm by itself: one task a GPU, ranks and addresses from the environment. USR1, sent ten minutes before the
# limit, makes it write a checkpoint and requeue the job; the new job resumes from that checkpoint, to the same batch.
#SBATCH --job-name=fdsr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log

set -euo pipefail
config=${1:?usage: sbatch experiments/slurm.sh CONFIG [more options of fdsr fit]}
shift
run=${FDSR_RUN:-runs/$(basename "$config" .yaml)}

# A store that is missing would be prepared by the first process of every node: do it before, once, on a shared disk.
export FDSR_CACHE=${FDSR_CACHE:-$PWD/cache}

# the newer of what the requeue signal wrote (Lightning: hpc_ckpt_N.ckpt in the run's folder) and the regular checkpoint
newest=$(ls -t "$run"/hpc_ckpt_*.ckpt "$run/checkpoints/last.ckpt" 2>/dev/null | head -n 1 || true)
resume=()
if [[ -n $newest ]]; then
  resume=(--ckpt_path "$newest")
fi

srun fdsr fit --config "$config" --run "$run" "${resume[@]}" "$@" \
  --trainer.accelerator gpu --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" \
  --trainer.strategy "${FDSR_STRATEGY:-ddp}"
