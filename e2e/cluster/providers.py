"""Where the demo's cluster comes from: namespaces of this machine, kind, or a cluster that is already there."""

import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import yaml

from e2e.cluster import build, images
from e2e.cluster.build_secrets import secret_options
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import LocalCluster
from e2e.cluster.paths import REPOSITORY, ClusterPaths, binary
from e2e.cluster.progress import Say, step
from e2e.cluster.shell import find, run

CHOICE_VARIABLE = "CLUSTER"
OPERATOR_IMAGE_VARIABLE = "IMAGE"
SERVING_IMAGE_VARIABLE = "VLLM_IMAGE"
SERVING_IMAGE = "localhost/turbospec-vllm-cpu:demo"
SERVING_DOCKERFILE = REPOSITORY / "e2e" / "images" / "vllm-cpu.Dockerfile"


class Provider(Protocol):
    """A cluster that the demo can use."""

    name: str
    needs_root: bool
    host_paths_supported: bool
    """Whether pods may mount folders of this machine; where not, vLLM and models come in `serving_image`."""

    def prepare(self) -> None:
        """Build and install what `up` needs, as far as that can be done without root."""

    def up(self) -> None:
        """Make the cluster answer."""

    def down(self) -> None:
        """Undo `up`; harmless when there is nothing to undo."""

    def kubeconfig(self) -> Path:
        """For clients on this machine."""

    def load_image(self, archive: Path) -> None:
        """Give a docker-archive to every node."""

    def operator_image(self) -> str:
        """Reference of our image, built and given to the nodes where that is ours to do."""

    def serving_image(self, model: Path) -> str:
        """Reference of the image for vLLM pods.

        Without host paths it holds `vllm` on its PATH and the model as `/models/NAME-OF-ITS-FOLDER`.
        """


class LocalProvider:
    """Namespaces of this machine; vLLM and models by host path."""

    name = "local"
    needs_root = True
    host_paths_supported = True

    def __init__(self, cluster: str, say: Say) -> None:
        self.cluster = LocalCluster(cluster, say)
        self._say = say
        self._beside = ThreadPoolExecutor(max_workers=1)

    def prepare(self) -> None:
        self.cluster.prepare()

    def up(self) -> None:
        # Takes longer than the cluster's start and needs nothing of it. Where it fails, `operator_image` says why.
        self._beside.submit(images.operator_image, self._say)
        self.cluster.up()

    def down(self) -> None:
        self.cluster.down()

    def kubeconfig(self) -> Path:
        return self.cluster.paths.kubeconfig

    def load_image(self, archive: Path) -> None:
        self.cluster.load_image(archive)

    def operator_image(self) -> str:
        self.load_image(images.operator_image(self._say))
        return images.OPERATOR_IMAGE

    def serving_image(self, model: Path) -> str:  # noqa: ARG002 (mounted by host path, not in the image)
        self.load_image(images.base_image(self._say))
        return images.BASE_IMAGE


class KindProvider:
    """kind, where a Docker engine answers; vLLM and the model in an image."""

    name = "kind"
    needs_root = False
    host_paths_supported = False

    def __init__(self, cluster: str, say: Say) -> None:
        self._cluster = cluster
        self._say = say
        self._kubeconfig = ClusterPaths(f"{cluster}-kind").kubeconfig

    def prepare(self) -> None:
        build.build(("kind", "kubectl", "helm"), self._say)

    def up(self) -> None:
        self.prepare()
        if self._cluster in self._kind("get", "clusters").split():
            raise ClusterError(f"kind cluster {self._cluster!r} is already up; take it down with: make clean-demo")
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        with step(self._say, "starting a kind cluster", "1 minute"):
            self._kind(
                "create", "cluster", "--name", self._cluster, "--wait", "3m", "--kubeconfig", str(self._kubeconfig)
            )

    def down(self) -> None:
        self._kind("delete", "cluster", "--name", self._cluster, "--kubeconfig", str(self._kubeconfig))
        self._kubeconfig.unlink(missing_ok=True)

    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def load_image(self, archive: Path) -> None:
        self._kind("load", "image-archive", str(archive), "--name", self._cluster)

    def operator_image(self) -> str:
        self._docker_build(images.OPERATOR_IMAGE, REPOSITORY / "Dockerfile", "2 minutes the first time")
        return images.OPERATOR_IMAGE

    def serving_image(self, model: Path) -> str:
        # 5 GB of libraries; only the last layer, the model, differs between models
        options = ["--build-context", f"model={model}", "--build-arg", f"MODEL_NAME={model.name}"]
        self._docker_build(SERVING_IMAGE, SERVING_DOCKERFILE, "10 minutes the first time", *options)
        return SERVING_IMAGE

    def _docker_build(self, reference: str, dockerfile: Path, expected: str, *options: str) -> None:
        with step(self._say, f"building {reference}", expected), tempfile.TemporaryDirectory() as folder:
            secrets = secret_options(Path(folder))
            command = ["docker", "build", "--quiet", "--tag", reference, "--file", str(dockerfile), *secrets, *options]
            run([*command, str(REPOSITORY)], environment={"DOCKER_BUILDKIT": "1"})
            self._kind("load", "docker-image", reference, "--name", self._cluster)

    def _kind(self, *arguments: str) -> str:
        return run([binary("kind"), *arguments])


class ExistingProvider:
    """The cluster that the user's kubectl talks to. We neither make nor remove it, nor push images for it."""

    name = "existing"
    needs_root = False
    host_paths_supported = False

    def __init__(self, cluster: str, say: Say) -> None:
        self._say = say
        self._kubeconfig = ClusterPaths(f"{cluster}-existing").kubeconfig

    def prepare(self) -> None:
        for variable in (OPERATOR_IMAGE_VARIABLE, SERVING_IMAGE_VARIABLE):
            _image_from(variable)
        build.build(("kubectl", "helm"), self._say)

    def up(self) -> None:
        self.prepare()
        # a copy of the current context alone: nothing that we run can be led elsewhere by a later `use-context`
        current = run([binary("kubectl"), "config", "view", "--minify", "--flatten"])
        context = (yaml.safe_load(current) or {}).get("current-context")
        if not context:
            raise ClusterError(f"{CHOICE_VARIABLE}=existing, but kubectl has no current context; set one or KUBECONFIG")
        self._kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(current)
        run([binary("kubectl"), f"--kubeconfig={self._kubeconfig}", "get", "--raw", "/readyz"])
        self._say(f"using the current kube context {context!r}")

    def down(self) -> None:
        self._kubeconfig.unlink(missing_ok=True)

    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def load_image(self, archive: Path) -> None:
        raise ClusterError(
            f"cannot load {archive.name} into an existing cluster: push it to a registry it can pull from"
        )

    def operator_image(self) -> str:
        return _image_from(OPERATOR_IMAGE_VARIABLE)

    def serving_image(self, model: Path) -> str:  # noqa: ARG002 (the user's image holds the model)
        return _image_from(SERVING_IMAGE_VARIABLE)


def choose(cluster: str, say: Say) -> Provider:
    """The provider that `$CLUSTER` names; without it kind where a Docker engine answers, else local.

    Raises:
        ClusterError: `$CLUSTER` names none that we know.
    """
    known: dict[str, type[LocalProvider] | type[KindProvider] | type[ExistingProvider]] = {
        each.name: each for each in (LocalProvider, KindProvider, ExistingProvider)
    }
    wanted = os.environ.get(CHOICE_VARIABLE) or "auto"
    if wanted == "auto":
        wanted = KindProvider.name if docker_answers() else LocalProvider.name
    if wanted not in known:
        raise ClusterError(f"{CHOICE_VARIABLE}={wanted} is unknown; use one of: {', '.join(known)}")
    return known[wanted](cluster, say)


def docker_answers() -> bool:
    """Whether a Docker engine can be used; kind itself can always be built."""
    docker = find("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


def _image_from(variable: str) -> str:
    image = os.environ.get(variable)
    if not image:
        raise ClusterError(
            f"{variable} is not set: an existing cluster pulls its images, so build and push them, then set "
            f"{OPERATOR_IMAGE_VARIABLE} (from Dockerfile) and {SERVING_IMAGE_VARIABLE} "
            f"(from {SERVING_DOCKERFILE.relative_to(REPOSITORY)})"
        )
    return image
