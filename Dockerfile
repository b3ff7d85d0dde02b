# The locked packages, without data, cache or outputs: those are in the project that is mounted.
# A GPU: --build-arg ONNX=gpu, then `docker run --gpus all` (torch carries its own CUDA libraries).
FROM python:3.12-slim-bookworm

ARG ONNX=cpu

# git is what DVC calls; libgomp1 is loaded by scikit-learn and torch, the others by OpenCV.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        git libgl1 libglib2.0-0 libgomp1 libsm6 libxext6 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/ecmf
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir -r requirements.lock
# onnxruntime and onnxruntime-gpu own the same folder: exactly one of them may stand.
RUN if [ "$ONNX" = gpu ]; then \
        version="$(sed -n 's/^onnxruntime==//p' requirements.lock)" \
        && /opt/venv/bin/pip uninstall --yes onnxruntime \
        && /opt/venv/bin/pip install --no-cache-dir --no-deps "onnxruntime-gpu==$version"; \
    fi

COPY stages stages
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps .

# The stages of the mounted project are what runs; git reads a folder of another owner only if told.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/project/stages HOME=/tmp ECMF_CACHE=/project/.ecmf_cache
RUN git config --system --add safe.directory /project
WORKDIR /project
CMD ["ecmf", "--help"]
