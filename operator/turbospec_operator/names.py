"""The labels, annotations, variables and object names by which the operator, webhook and runtime know one another."""

GROUP = "turbospec.io"
API_VERSION = "turbospec.io/v1alpha1"

LABEL_INJECT = "turbospec.io/inject"
LABEL_PROFILING_KEY = "turbospec.io/profiling-key"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"

ANNOTATION_INJECTED = "turbospec.io/injected"
ANNOTATION_NOT_INJECTED = "turbospec.io/not-injected"
ANNOTATION_NONCE = "turbospec.io/token-nonce"
ANNOTATION_TEMPLATE = "turbospec.io/template"
"""On pods: the digest under which the crash-loop breaker counts them."""
ANNOTATION_INJECT_ANYWAY = "turbospec.io/inject-anyway"
"""On policies: digests, separated by commas, whose pods are injected although they failed before."""
ANNOTATION_STARTUP_VARIANT = "turbospec.io/startup-variant"
"""On pods of a policy with startupVariant Plain or Auto: Speculative or Plain, as they were started, or Refused."""
ANNOTATION_SPECULATION = "turbospec.io/speculation"
"""On pods: what became of the policy's speculative method, added or why not."""
ANNOTATION_CONTAINER = "turbospec.io/container"
ANNOTATION_ATTEMPT = "turbospec.io/attempt"
ANNOTATION_NODE = "turbospec.io/node"
ANNOTATION_UNCHECKED = "turbospec.io/unchecked"

LABEL_KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

ENV_TOKEN_SHA256 = "TURBOSPEC_TOKEN_SHA256"  # noqa: S105 the name of a variable, not a token
ENV_CONTROL_PORT = "TURBOSPEC_CONTROL_PORT"
ENV_STATE_DIR = "TURBOSPEC_STATE_DIR"
ENV_PROFILE = "TURBOSPEC_PROFILE"
ENV_PROFILE_PORT = "TURBOSPEC_PROFILE_PORT"
ENV_PROFILE_DRAFT_TOKENS = "TURBOSPEC_PROFILE_DRAFT_TOKENS"
ENV_PROFILE_CONTAINERS = "TURBOSPEC_PROFILE_CONTAINERS"

OPERATOR = "turbospec-operator"
LEASE = "turbospec-operator"
MASTER_KEY_SECRET = "turbospec-master-key"  # noqa: S105 the name of an object, not a secret
MASTER_KEY_FIELD = "key"
