#!/bin/sh
# pip of the build environment, with the build's optional secrets where they were given.
set -eu
[ ! -s /run/secrets/ca-bundle ] || export PIP_CERT=/run/secrets/ca-bundle
[ ! -s /run/secrets/pip-conf ] || export PIP_CONFIG_FILE=/run/secrets/pip-conf
exec /opt/build/bin/pip --no-cache-dir --disable-pip-version-check --quiet "$@"
