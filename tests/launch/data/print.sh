#!/bin/bash
# job cnn_digits/methods: tasks 0 to 2, 8 cores, 1 GPUs, 30 minutes each
# after cnn_digits/anchors
cd /home/user/study
module load cuda
source venv/bin/activate
export JAXMU_SHARED_CACHE=/runs/.programs
export JAX_PLATFORMS="${JAX_PLATFORMS:-cuda}"
exec python -m jaxmu.command.work /runs/cnn_digits-1a2b3c4d/submissions/5e6f7a8b.json --job=cnn_digits/methods
