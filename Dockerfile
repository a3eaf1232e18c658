# The operator and webhook image. Build with Docker, or with buildah where there is no Docker engine:
#   docker build -t turbospec .
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/turbospec --push .
#   buildah build --isolation chroot --build-arg BASE_IMAGE=any-debian-with-python3-venv-and-pip -t turbospec .
# Secrets `ca-bundle` and `pip-conf` are optional: a machine's certificate authorities and package index settings,
# needed while building only and in no layer.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# All that is downloaded, and nothing of ours: this stage is built anew only when the locked requirements change.
FROM ${BASE_IMAGE} AS dependencies
WORKDIR /src
# Two environments: what builds our wheel, and what is shipped. The shipped one holds no installer.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/venv
COPY e2e/images/pip.sh /usr/local/bin/pip-with-secrets
COPY requirements/operator.txt requirements/build.txt requirements/
RUN --mount=type=secret,id=ca-bundle --mount=type=secret,id=pip-conf \
    sh /usr/local/bin/pip-with-secrets install --require-hashes -r requirements/build.txt && \
    sh /usr/local/bin/pip-with-secrets --python /opt/venv/bin/python install --require-hashes -r requirements/operator.txt
# Our package lies apart, in a layer of its own: a change of our code then moves a megabyte and not the whole environment.
RUN echo /opt/app > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/turbospec.pth"

FROM dependencies AS package
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY operator operator
RUN /opt/build/bin/pip wheel --quiet --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /dist . && \
    /opt/build/bin/pip install --quiet --no-cache-dir --no-index --no-deps --target /opt/app /dist/*.whl

# What is shipped, by name, version, licence and origin: read from the environment itself, not from what was asked for.
FROM dependencies AS sbom
COPY requirements/sbom.txt requirements/
RUN --mount=type=secret,id=ca-bundle --mount=type=secret,id=pip-conf \
    sh /usr/local/bin/pip-with-secrets install --require-hashes -r requirements/sbom.txt
COPY pyproject.toml ./
RUN mkdir /sbom && /opt/build/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
    --output-format JSON --output-file /sbom/turbospec.cdx.json /opt/venv/bin/python

FROM ${BASE_IMAGE}
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=sbom /sbom /usr/share/sbom
COPY --from=package /opt/app /opt/app
# USER: kopf asks for the user's name, and this uid has no line in /etc/passwd.
# The root file system may be read-only: nothing is written but to /tmp, and that only when it is there.
ENV PATH=/opt/venv/bin:${PATH} USER=turbospec HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-m", "turbospec_operator"]
