"""Injection adds what a pod lacks, once, and refuses in words where it cannot."""

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator.injection import Outcome, Runtime, inject
from turbospec_operator.injection_startup import speculative_config, startup_table
from turbospec_operator.names import ANNOTATION_SPECULATION
from turbospec_operator.tokens import engine_token, token_sha256

RUNTIME = Runtime(hash="0123456789ab", master_key=b"k" * 32)
NONCE = "n" * 32
ZIP = "/opt/turbospec/turbospec.zip"

Raw = dict[str, Any]


def policy(container: str | None = None, **speculation: Any) -> SpeculationPolicySpec:
    """A policy's spec with this speculation."""
    return SpeculationPolicySpec.model_validate(
        {
            "selector": {"matchLabels": {"app": "chat"}},
            "engine": {"container": container},
            "speculation": speculation,
        }
    )


NGRAM = policy(method="ngram", promptLookupMin=1, promptLookupMax=4, draftTokens=[0, 5])


def engine(**fields: Any) -> Raw:
    """A container that serves vLLM."""
    return {"name": "vllm", "image": "base", "command": ["vllm", "serve", "m"], "args": ["--port", "8000"]} | fields


def pod(*containers: Raw, label: str | None = "true", annotations: Raw | None = None, **spec: Any) -> Raw:
    """A pod as the API server sends it to a webhook."""
    labels = {"app": "chat"} | ({"turbospec.io/inject": label} if label else {})
    metadata = {"generateName": "chat-", "labels": labels} | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": {"containers": list(containers) or [engine()]} | spec}


def patched(raw: Raw, outcome: Outcome) -> Raw:
    """The pod after RFC 6902's add, replace and remove."""
    result = copy.deepcopy(raw)
    for operation in outcome.patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target: Any = result
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if operation["op"] == "remove":
            del target[last]
        elif isinstance(target, list) and last == "-":
            target.append(copy.deepcopy(operation["value"]))
        elif isinstance(target, list):
            assert operation["op"] == "replace", "inserting in the middle of a list moves what is behind"
            target[int(last)] = operation["value"]
        else:
            target[last] = copy.deepcopy(operation["value"])
    return result


def injected(raw: Raw, spec: SpeculationPolicySpec | None = NGRAM) -> Raw:
    """The pod with the runtime in it."""
    outcome = inject(raw, "team-a", spec, RUNTIME, NONCE)
    assert outcome.injected
    assert outcome.refusal is None
    return patched(raw, outcome)


def environment(container: Raw) -> dict[str, Any]:
    """Variables by name, the last one counting."""
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_a_plain_pod_gets_runtime_token_port_and_annotations() -> None:
    """Everything an engine needs, by the contract with engine and operator."""
    result = injected(pod(), None)
    container = result["spec"]["containers"][0]
    assert environment(container) == {
        "PYTHONPATH": ZIP,
        "TURBOSPEC_TOKEN_SHA256": token_sha256(engine_token(b"k" * 32, "team-a", NONCE)),
        "TURBOSPEC_CONTROL_PORT": "9476",
        "TURBOSPEC_STATE_DIR": "/var/run/turbospec",
    }
    assert container["volumeMounts"] == [
        {"name": "turbospec-runtime", "mountPath": "/opt/turbospec", "readOnly": True},
        {"name": "turbospec-state", "mountPath": "/var/run/turbospec"},
    ]
    assert result["spec"]["volumes"] == [
        {"name": "turbospec-runtime", "configMap": {"name": "turbospec-runtime-0123456789ab", "optional": True}},
        {"name": "turbospec-state", "emptyDir": {"sizeLimit": "4Mi"}},
    ]
    assert result["metadata"]["annotations"] == {
        "turbospec.io/injected": "0123456789ab",
        "turbospec.io/token-nonce": NONCE,
        "turbospec.io/container": "vllm",
    }
    assert container["args"] == ["--port", "8000"]


def test_a_state_folder_of_the_users_own_is_left_alone() -> None:
    """Who has chosen where state is kept gets no second place for it."""
    container = engine(env=[{"name": "TURBOSPEC_STATE_DIR", "value": "/data/turbospec"}])
    result = injected(pod(container))
    assert environment(result["spec"]["containers"][0])["TURBOSPEC_STATE_DIR"] == "/data/turbospec"
    assert [volume["name"] for volume in result["spec"]["volumes"]] == ["turbospec-runtime"]


def test_the_token_itself_is_nowhere_in_the_pod() -> None:
    """Only its hash is."""
    assert engine_token(b"k" * 32, "team-a", NONCE) not in json.dumps(injected(pod()))


PODS = {
    "plain": pod(),
    "sidecar first": pod({"name": "proxy", "command": ["envoy"]}, engine()),
    "script": pod(engine(command=["sh", "-c"], args=["vllm serve m --max-num-seqs 16"])),
    "own env and volumes": pod(
        engine(
            env=[{"name": "PYTHONPATH", "value": "/a:/b"}, {"name": "VLLM_PLUGINS", "value": "lora,x"}],
            volumeMounts=[{"name": "m", "mountPath": "/m"}],
        ),
        volumes=[{"name": "m", "emptyDir": {}}],
        annotations={"a": "b"},
    ),
    "envFrom": pod(engine(envFrom=[{"configMapRef": {"name": "e"}}])),
    "refused before": pod(annotations={"turbospec.io/not-injected": "no vLLM"}),
}


@pytest.mark.parametrize("raw", PODS.values(), ids=PODS)
def test_a_second_call_changes_nothing(raw: Raw) -> None:
    """reinvocationPolicy IfNeeded: the webhook sees its own work and lets it be, whatever nonce it would draw."""
    once = injected(raw)
    again = inject(once, "team-a", NGRAM, RUNTIME, "another nonce")
    assert again.patch == ()
    assert again.injected


@pytest.mark.parametrize("raw", PODS.values(), ids=PODS)
def test_nothing_of_the_users_is_lost(raw: Raw) -> None:
    """Every leaf of the pod is still there; values we extend still begin with theirs."""

    def check(before: Any, after: Any) -> None:
        if isinstance(before, dict):
            for key, value in before.items():
                if key != "turbospec.io/not-injected":
                    check(value, after[key])
        elif isinstance(before, list):
            assert len(after) >= len(before)
            for old, new in zip(before, after, strict=False):
                check(old, new)
        else:
            assert str(after).startswith(str(before).split(" ", maxsplit=1)[0])

    check(raw, injected(raw))


def test_existing_lists_are_appended_to() -> None:
    """PYTHONPATH keeps its order with ours last, VLLM_PLUGINS lets ours load."""
    variables = environment(injected(PODS["own env and volumes"])["spec"]["containers"][0])
    assert variables["PYTHONPATH"] == f"/a:/b:{ZIP}"
    assert variables["VLLM_PLUGINS"] == "lora,x,turbospec"


@pytest.mark.parametrize(
    ("container", "annotations", "expected"),
    [
        (engine(env=[{"name": "PYTHONPATH", "value": ""}]), None, ZIP),
        (engine(envFrom=[{"configMapRef": {"name": "e"}}]), None, f"$(PYTHONPATH):{ZIP}"),
        (engine(), {"turbospec.io/image-pythonpath": "/image"}, f"/image:{ZIP}"),
        (engine(env=[{"name": "PYTHONPATH", "value": f"{ZIP}:/a"}]), None, f"{ZIP}:/a"),
        (
            engine(env=[{"name": "PYTHONPATH", "value": "/old"}, {"name": "PYTHONPATH", "value": "/new"}]),
            None,
            f"/new:{ZIP}",
        ),
    ],
)
def test_python_path_keeps_what_is_there(container: Raw, annotations: Raw | None, expected: str) -> None:
    """Whatever sets PYTHONPATH, it stays in front of ours."""
    result = injected(pod(container, annotations=annotations))
    assert environment(result["spec"]["containers"][0])["PYTHONPATH"] == expected


@pytest.mark.parametrize(("mode", "added"), [("Enforce", True), ("Advise", False)])
def test_advice_starts_no_speculation(mode: str, added: bool) -> None:
    """The runtime is there to look, and says why the engine has no drafter."""
    spec = NGRAM.model_copy(update={"mode": mode})
    result = injected(pod(), spec)
    assert ("--speculative-config" in str(result["spec"]["containers"])) is added
    said = result["metadata"]["annotations"][ANNOTATION_SPECULATION]
    assert said == ("added: ngram" if added else "not added: the policy's mode is Advise")


def test_the_users_control_port_stands() -> None:
    """Two engines on a host network need different ports; the operator reads them from the pods."""
    result = injected(pod(engine(env=[{"name": "TURBOSPEC_CONTROL_PORT", "value": "9999"}])))
    assert environment(result["spec"]["containers"][0])["TURBOSPEC_CONTROL_PORT"] == "9999"


def test_a_copied_pod_gets_the_current_runtime_and_a_token_that_fits_its_nonce() -> None:
    """`kubectl get pod -o yaml | kubectl create -f -` after an upgrade of TurboSpec, in another namespace."""
    old = injected(pod())
    newer = Runtime(hash="ba9876543210", master_key=RUNTIME.master_key)
    result = patched(old, inject(old, "team-b", NGRAM, newer, "other"))
    assert result["spec"]["volumes"][0]["configMap"]["name"] == "turbospec-runtime-ba9876543210"
    assert result["metadata"]["annotations"]["turbospec.io/injected"] == "ba9876543210"
    token = engine_token(RUNTIME.master_key, "team-b", NONCE)
    assert environment(result["spec"]["containers"][0])["TURBOSPEC_TOKEN_SHA256"] == token_sha256(token)


@pytest.mark.parametrize(
    ("containers", "named", "chosen"),
    [
        ([{"name": "proxy", "command": ["envoy"]}, engine()], None, 1),
        ([engine(), {"name": "proxy", "command": ["envoy"]}], None, 0),
        ([engine(name="a"), engine(name="b")], "b", 1),
        ([{"name": "a", "command": ["/start.sh"]}, {"name": "b", "command": ["sleep", "1"]}], "a", 0),
        ([{"name": "x"}, {"name": "y", "image": "r:5000/vllm/vllm-openai:v1", "args": ["--model", "m"]}], None, 1),
        ([{"name": "x"}, {"name": "y", "image": "vllm/vllm-openai@sha256:0", "args": ["org/model"]}], None, 1),
    ],
)
def test_the_container_is_found_by_name_then_by_command(containers: list[Raw], named: str | None, chosen: int) -> None:
    """Never by its place."""
    result = injected(pod(*containers), policy(container=named))
    assert [("env" in container) for container in result["spec"]["containers"]].index(True) == chosen
    assert result["metadata"]["annotations"]["turbospec.io/container"] == containers[chosen]["name"]


REFUSALS: dict[str, tuple[Raw, SpeculationPolicySpec | None, str]] = {
    "no vLLM": (pod({"name": "db", "image": "postgres"}), None, "spec.engine.container"),
    "vLLM router": (pod({"name": "r", "image": "lmcache/vllm-router:1", "args": ["--x"]}), None, "no container serves"),
    "vLLM that does not serve": (pod(engine(command=["vllm", "bench", "serve"])), None, "no container serves"),
    "two engines": (pod(engine(name="a"), engine(name="b")), NGRAM, "a, b all serve vLLM"),
    "container that is not there": (pod(), policy(container="engine"), "but the pod has: vllm"),
    "PYTHONPATH from elsewhere": (
        pod(engine(env=[{"name": "PYTHONPATH", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}])),
        NGRAM,
        "PYTHONPATH from valueFrom",
    ),
    "VLLM_PLUGINS from elsewhere": (
        pod(engine(env=[{"name": "VLLM_PLUGINS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}])),
        NGRAM,
        "VLLM_PLUGINS from valueFrom",
    ),
    "volume name taken": (
        pod(volumes=[{"name": "turbospec-runtime", "emptyDir": {}}]),
        NGRAM,
        "volume turbospec-runtime of its own",
    ),
    "state volume's name taken": (
        pod(volumes=[{"name": "turbospec-state", "persistentVolumeClaim": {"claimName": "c"}}]),
        NGRAM,
        "volume turbospec-state of its own",
    ),
    "mount path taken": (
        pod(engine(volumeMounts=[{"name": "x", "mountPath": "/opt/turbospec"}])),
        NGRAM,
        "mounts x at /opt/turbospec",
    ),
}


@pytest.mark.parametrize(("raw", "spec", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_leave_the_pod_alone_and_say_why(raw: Raw, spec: SpeculationPolicySpec | None, reason: str) -> None:
    """Nothing but one annotation changes."""
    outcome = inject(raw, "team-a", spec, RUNTIME, NONCE)
    assert not outcome.injected
    assert outcome.refusal is not None
    assert reason in outcome.refusal
    result = patched(raw, outcome)
    assert result["spec"] == raw["spec"]
    assert result["metadata"]["annotations"] == {"turbospec.io/not-injected": outcome.refusal}


@pytest.mark.parametrize(
    ("raw", "spec"),
    [
        (pod(label="false"), NGRAM),
        (pod(label="false"), None),
        (pod({"name": "db", "image": "postgres"}, label=None), None),
    ],
    ids=["opted out under a policy", "opted out", "bystander in a namespace that opted in"],
)
def test_who_did_not_ask_is_left_alone(raw: Raw, spec: SpeculationPolicySpec | None) -> None:
    """No patch at all, not even an annotation."""
    assert inject(raw, "team-a", spec, RUNTIME, NONCE) == Outcome()


def test_profiling_pods_are_left_alone() -> None:
    """They carry the runtime of the serving pod that they copy."""
    raw = pod(engine())
    raw["metadata"]["labels"]["turbospec.io/profiling-key"] = "0" * 16
    assert inject(raw, "team-a", NGRAM, RUNTIME, NONCE) == Outcome()


def flag_of(container: Raw) -> Raw:
    """The JSON behind --speculative-config."""
    arguments = [*container.get("command", []), *container.get("args", [])]
    value: Raw = json.loads(arguments[arguments.index("--speculative-config") + 1])
    return value


def test_a_policy_with_a_method_adds_the_start_up_config() -> None:
    """Method, the largest K, the lookup lengths, and a table over the batches that --max-num-seqs allows."""
    result = injected(pod(engine(args=["--max-num-seqs", "16"])))
    assert flag_of(result["spec"]["containers"][0]) == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_min": 1,
        "prompt_lookup_max": 4,
        "num_speculative_tokens_per_batch_size": [[1, 4, 5], [5, 16, 0]],
    }
    assert result["metadata"]["annotations"][ANNOTATION_SPECULATION] == "added: ngram"


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        (["--data-parallel-size", "2"], False),
        (["--data_parallel_size=4"], False),
        (["-dp", "2"], False),
        (["-dp", "2", "-dp", "1"], True),
        (["--data-parallel-size", "1"], True),
        (["--data-parallel-size-local", "2"], True),
        (["--data-parallel-address", "10.0.0.2"], True),
    ],
)
def test_engines_with_data_parallelism_get_no_table(arguments: list[str], table: bool) -> None:
    """Their ranks must agree on K: vLLM 0.25 would not, and later releases drop the table."""
    result = injected(pod(engine(args=arguments)))
    config = flag_of(result["spec"]["containers"][0])
    assert config["num_speculative_tokens"] == 5
    assert ("num_speculative_tokens_per_batch_size" in config) == table


@pytest.mark.parametrize(
    "arguments",
    [
        ["--speculative-config", "{}"],
        ["--speculative_config={}"],
        ["--speculative-config.method", "ngram"],
        ["-sc", "{}"],
        ["--spec-method", "ngram"],
        ["--num-speculative-tokens", "3"],
    ],
    ids=" ".join,
)
def test_the_users_own_config_stands(arguments: list[str]) -> None:
    """In every spelling; command and args stay as they are, also in a script."""
    for container in (
        engine(args=arguments),
        engine(command=["sh", "-c"], args=["vllm serve m " + " ".join(arguments)]),
    ):
        result = injected(pod(container))["spec"]["containers"][0]
        assert (result["command"], result["args"]) == (container["command"], container["args"])


@pytest.mark.parametrize(
    ("container", "spec", "reason"),
    [
        (engine(args=["--config", "/c.yaml"]), NGRAM, "--config file"),
        (engine(), policy(method="ngram", draftTokens=[0]), "no K above 0"),
        ({"name": "v", "image": "vllm/vllm-openai:v1"}, NGRAM, "neither command nor args"),
        (
            {"name": "v", "command": ["/start.sh"]},
            policy(container="v", method="ngram"),
            "does not show where vLLM starts",
        ),
    ],
)
def test_where_the_config_cannot_be_added_the_pod_says_so(
    container: Raw, spec: SpeculationPolicySpec, reason: str
) -> None:
    """The runtime goes in all the same; an engine without speculation reports itself as such."""
    result = injected(pod(container), spec)
    assert reason in result["metadata"]["annotations"][ANNOTATION_SPECULATION]
    assert result["spec"]["containers"][0].get("args") == container.get("args")


@pytest.mark.parametrize(
    "arguments", [["--max-num-seqs=16"], ["--max_num_seqs", "16"], ["--max-num-seqs", "8", "--max-num-seqs", "16"]]
)
def test_max_num_seqs_is_read_in_every_spelling(arguments: list[str]) -> None:
    """The last one counts, as for vLLM; inside a script as well."""
    for container in (
        engine(args=arguments),
        engine(command=["sh", "-c", "vllm serve m " + " ".join(arguments)], args=[]),
    ):
        result = injected(pod(container))["spec"]["containers"][0]
        assert "[5,16,0]" in " ".join([*result["command"], *result["args"]])


def test_unreadable_max_num_seqs_falls_back_to_vllms_usual_one() -> None:
    """A variable or a suffix is not guessed at."""
    for value in ("$SEQS", "1k"):
        container = engine(command=["sh", "-c", f"vllm serve m --max-num-seqs {value}"], args=[])
        assert "[17,256,0]" in injected(pod(container))["spec"]["containers"][0]["command"][2]


@given(st.sets(st.integers(0, 64), min_size=1, max_size=16), st.integers(1, 1024))
def test_start_up_tables_are_what_vllm_accepts(draft_tokens: set[int], max_num_seqs: int) -> None:
    """Rows start at 1, leave no gap, end at the largest batch, fall in K; every K has a row where batches suffice."""
    rows = startup_table(sorted(draft_tokens), max_num_seqs)
    assert rows[0][0] == 1
    assert rows[-1][1] == max_num_seqs
    assert all(start <= end for start, end, _ in rows)
    assert all(previous[1] + 1 == row[0] for previous, row in pairwise(rows))
    used = [draft for _, _, draft in rows]
    assert used == sorted(used, reverse=True)
    assert used[0] == max(draft_tokens)
    if max_num_seqs >= len(draft_tokens):
        assert set(used) == draft_tokens


def test_the_default_ladder_makes_a_sensible_table() -> None:
    """K 7 for a handful of requests, none for a crowd."""
    assert startup_table([0, 1, 3, 7], 256) == [(1, 4, 7), (5, 16, 3), (17, 64, 1), (65, 256, 0)]
    assert startup_table([5], 256) == [(1, 256, 5)]


def test_model_goes_into_the_config() -> None:
    """eagle3 and its like need their drafter."""
    config = speculative_config(policy(method="eagle3", model="org/drafter", draftTokens=[0, 3]).speculation, None)
    assert config is not None
    assert json.loads(config)["model"] == "org/drafter"
