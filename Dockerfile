# jaxmu for CPUs, and with EXTRA for GPUs or TPUs:
#   docker build -t jaxmu:cpu .
#   docker build -t jaxmu:cuda12 --build-arg EXTRA=bench,cuda12 .
#   docker build -t jaxmu:tpu --build-arg EXTRA=bench,tpu .
# A run lives in a folder that is mounted:
#   docker run --rm -v $PWD/checkpoints:/jaxmu/checkpoints jaxmu:cpu \
#     python bin/sweep.py --config=configs/cnn_digits.py
FROM python:3.12-slim
ARG EXTRA=bench
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /jaxmu
COPY pyproject.toml README.md LICENSE ./
COPY jaxmu jaxmu
RUN pip install ".[${EXTRA}]"
COPY bin bin
COPY configs configs
CMD ["jaxmu", "methods"]
