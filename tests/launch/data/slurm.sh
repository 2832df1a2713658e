#!/bin/bash
#SBATCH --job-name=jaxmu-cnn-digits-methods
#SBATCH --array=0-2%16
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=0-00:30:00
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=/runs/cnn_digits-1a2b3c4d/submissions/logs/%A_%a.log
#SBATCH --chdir=/home/user/study
#SBATCH --requeue
#SBATCH --qos=low
module load cuda
source venv/bin/activate
export JAXMU_SHARED_CACHE=/runs/.programs
export JAX_PLATFORMS="${JAX_PLATFORMS:-cuda}"
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # which steps no longer inherit
srun --unbuffered python -m jaxmu.command.work /runs/cnn_digits-1a2b3c4d/submissions/5e6f7a8b.json --job=cnn_digits/methods
code=$?
case $code in 0|2|69) exit $code;; esac
if [ "${SLURM_RESTART_COUNT:-0}" -lt 8 ]; then
  for pause in 2 10 30; do  # a controller may be busy; once it agrees, it ends this script
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" && sleep 60
    sleep $pause
  done
fi
exit $code
