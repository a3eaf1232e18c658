"""What a policy may say about the pod of a profiling Job: where it runs and what it gets, never what it runs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from turbospec.wire.base import WireModel

Quantity = Annotated[
    str,
    Field(
        max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?|Ki)?$", description='For example "2", "500m", "8Gi".'
    ),
]
Amounts = dict[str, Quantity]

NONE: dict[str, str] = {}
NO_ITEMS: list[Any] = []

Variable = Literal[
    "TURBOSPEC_PROFILE_SECONDS",
    "TURBOSPEC_PROFILE_START_SECONDS",
    "TURBOSPEC_PROFILE_PLAIN_SECONDS",
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_LOGGING_LEVEL",
]
"""A list of names rather than of forbidden ones: PYTHONPATH, LD_PRELOAD, HF_ENDPOINT, VLLM_PLUGINS and many others
make a process run other code, with the rights of the serving pod's service account."""


class Toleration(WireModel):
    """As in pods."""

    key: Annotated[
        str | None, Field(max_length=316, description="Key of the taint; none with operator Exists: any.")
    ] = None
    operator: Annotated[Literal["Equal", "Exists"], Field(description="Equal compares the value too.")] = "Equal"
    value: Annotated[str | None, Field(max_length=63, description="Value of the taint, for operator Equal.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description="Effect; none: every effect.")
    ] = None


class Resources(WireModel):
    """As in containers; replaces the serving container's, name by name."""

    requests: Annotated[Amounts, Field(max_length=16, description="Requests that replace the serving container's.")] = (
        NONE
    )
    limits: Annotated[Amounts, Field(max_length=16, description="Limits that replace the serving container's.")] = NONE


class EnvironmentVariable(WireModel):
    """A literal value: references to Secrets and ConfigMaps are those of the serving container."""

    name: Annotated[Variable, Field(description="One of the variables that change how it runs, not what.")]
    value: Annotated[str, Field(max_length=256, description="Its value.")]


class ProfilingJobSpec(WireModel):
    """What differs from the serving pod's. Image, command, volumes and service account are always the serving pod's."""

    node_selector: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]],
        Field(max_length=16, description="Labels that the node must have, besides being of the same hardware."),
    ] = NONE
    tolerations: Annotated[
        list[Toleration],
        Field(
            max_length=16,
            description="Tolerations besides the serving pod's.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = NO_ITEMS
    resources: Annotated[
        Resources,
        Field(
            description="Requests and limits. Other CPU limits are another kind of hardware: the result would not fit."
        ),
    ] = Resources()
    priority_class_name: Annotated[
        str | None,
        Field(
            max_length=253,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="PriorityClass. Default: the installation's, below all that serves and never preempting.",
        ),
    ] = None
    env: Annotated[
        list[EnvironmentVariable],
        Field(
            max_length=16,
            description="Variables added to the serving container's, or replacing them.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = NO_ITEMS

    def raw(self) -> dict[str, Any]:
        """As Kubernetes spells it."""
        return self.model_dump(by_alias=True, exclude_none=True)
