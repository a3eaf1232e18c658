"""``turbospec profile list|export|import|promote``: profiles travel between clusters, and nothing bad gets in."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.fake_api import FakeApi
from tests.cli.samples import EXAMPLE, NAME, example, plain_engine, stored, with_identity

OWN = f"namespaces/team/speculationprofiles/{NAME}"


def test_what_is_exported_is_imported_elsewhere_as_it_was(api: FakeApi, run: Run, tmp_path: Path) -> None:
    """The measurements and their provenance; nothing of the cluster it comes from."""
    api.add(stored(), "speculationprofiles")
    file = tmp_path / "shared.yaml"
    assert run("export", NAME, "-f", str(file)).exit_code == 0
    exported = yaml.safe_load(file.read_text())
    assert set(exported["metadata"]) == {"name", "labels"}
    result = run("import", str(file), "-n", "other")
    assert (result.exit_code, result.output) == (0, f"speculationprofile/{NAME} created in namespace other\n")
    made = api.objects[f"namespaces/other/speculationprofiles/{NAME}"]
    assert made["spec"] == example()["spec"]
    assert made["metadata"]["namespace"] == "other"


def test_the_example_of_the_docs_is_what_export_writes(api: FakeApi, run: Run) -> None:
    """To the letter, so that people can compare theirs with it."""
    api.add(stored(), "speculationprofiles")
    assert run("export", NAME).stdout == EXAMPLE.read_text()
    assert json.loads(run("export", NAME, "-o", "json").stdout) == example()


def test_import_takes_a_bare_spec_a_name_and_the_cluster(api: FakeApi, run: Run, tmp_path: Path) -> None:
    """Hand-written files need no envelope."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(example()["spec"]))
    assert run("import", str(file)).output == "speculationprofile/mine created in namespace team\n"
    result = run("import", str(file), "--cluster", "--name", "epyc")
    assert result.output == "clusterspeculationprofile/epyc created\n"
    assert api.objects["clusterspeculationprofiles/epyc"]["kind"] == "ClusterSpeculationProfile"


def test_what_is_there_is_replaced_only_when_asked(api: FakeApi, run: Run) -> None:
    """And then what others wrote beside the spec stays; a dry run writes nothing."""
    there = stored(kvCacheTokens=1)
    there["metadata"]["annotations"] = {"owner": "me"}
    api.add(there, "speculationprofiles")
    refused = run("import", str(EXAMPLE))
    assert refused.exit_code == 1
    assert refused.stderr.endswith("already exists. It is there already; put it in its place with --replace\n")
    assert run("import", str(EXAMPLE), "--replace", "--dry-run").output.endswith(
        "replaced in namespace team (dry run)\n"
    )
    assert (api.dry_runs, api.objects[OWN]["spec"]["kvCacheTokens"]) == (1, 1)
    assert run("import", str(EXAMPLE), "--replace").output.endswith("replaced in namespace team\n")
    assert api.objects[OWN]["spec"]["kvCacheTokens"] == 29056
    assert api.objects[OWN]["metadata"]["annotations"] == {"owner": "me"}
    assert api.objects[OWN]["metadata"]["resourceVersion"] == "7"
    assert run("import", str(EXAMPLE), "--replace").output.endswith("unchanged in namespace team\n")


def test_promote_shares_a_namespaces_profile_and_says_where_it_comes_from(api: FakeApi, run: Run) -> None:
    """The spec is the same; the namespace's own stays."""
    api.add(stored(), "speculationprofiles")
    result = run("promote", NAME, "--as", "epyc-smollm2")
    assert (result.exit_code, result.output) == (0, "clusterspeculationprofile/epyc-smollm2 created\n")
    made = api.objects["clusterspeculationprofiles/epyc-smollm2"]
    assert made["spec"] == api.objects[OWN]["spec"]
    assert made["metadata"]["annotations"] == {"turbospec.io/promoted-from": f"team/{NAME}"}


def test_list_shows_both_kinds_and_what_cannot_be_used(api: FakeApi, run: Run) -> None:
    """With the reason."""
    api.add(stored(), "speculationprofiles")
    api.add(stored("shared", None), "clusterspeculationprofiles")
    api.add(stored("edited", "other", key="0" * 16), "speculationprofiles")
    lines = run("list").stdout.splitlines()
    headings = "NAMESPACE NAME METHOD HARDWARE VLLM CELLS ERROR PLAIN AGE USABLE"
    assert lines[0].split() == headings.split()
    assert [line.split()[:2] for line in lines[1:]] == [["team", NAME], ["(cluster)", "shared"]]
    assert "cpu / AMD EPYC / 2 CPUs" in lines[1]
    assert [word for word in ("24", "7.2%", "yes") if word not in lines[1].split()] == []
    everywhere = run("list", "-A").stdout
    assert f"spec.key: is {'0' * 16}, the identity's is {example()['spec']['key']}" in everywhere
    assert len(json.loads(run("list", "-o", "json").stdout)["items"]) == 2


def test_list_says_how_much_faster_an_engine_without_speculation_is(api: FakeApi, run: Run) -> None:
    """Than this one at K = 0, in the median of the plain engine's cells; a dash where nobody has measured it."""
    api.add(stored(plain=plain_engine(0.8)), "speculationprofiles")
    api.add(stored("unknown", None), "clusterspeculationprofiles")
    measured, unknown = run("list").stdout.splitlines()[1:]
    assert "+25%" in measured.split()
    assert "-" in unknown.split()


def test_who_may_not_see_the_clusters_profiles_sees_the_namespaces(api: FakeApi, run: Run) -> None:
    """And is told."""
    api.add(stored(), "speculationprofiles")
    api.forbidden = {"clusterspeculationprofiles"}
    result = run("list")
    assert (result.exit_code, NAME in result.stdout) == (0, True)
    assert result.stderr.startswith("Warning: cannot list clusterspeculationprofiles.turbospec.io")


def _but(**spec: Any) -> dict[str, Any]:
    raw = example()
    raw["spec"] |= spec
    return raw


def _cells(**cell: Any) -> dict[str, Any]:
    raw = example()
    raw["spec"]["cells"][5] |= cell
    return raw


BAD_FILES: dict[str, tuple[Any, str]] = {
    "another kind": (example() | {"kind": "Deployment"}, "kind: is 'Deployment', expected SpeculationProfile"),
    "no spec": ({"kind": "SpeculationProfile"}, "spec: is missing"),
    "no identity": (
        {"spec": {k: v for k, v in example()["spec"].items() if k != "identity"}},
        "spec.identity: Field req",
    ),
    "a time of nothing": (_cells(microseconds=0), "spec.cells[5].microseconds: Input should be greater than or equal"),
    "a cell in words": (_cells(batch="many"), "spec.cells[5].batch: Input should be a valid integer"),
    "a misspelt field": (_cells(millis=1), "spec.cells[5].millis: Extra inputs are not permitted (found 1)"),
    "a typing error": (_cells(microseconds=900_000_000 // 2), "where the rest of the profile says"),
    "no K = 0": (_but(cells=[c for c in example()["spec"]["cells"] if c["draftTokens"]]), "no cell with draftTokens 0"),
    "another key": (_but(key="0" * 16), f"spec.key: is {'0' * 16}, the identity's is"),
    "a list": ([example()], "holds 1 documents, expected one profile"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused_in_one_line_with_file_and_field(
    api: FakeApi, run: Run, tmp_path: Path, content: Any, message: str
) -> None:
    """Nothing is written."""
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(content))
    result = run("import", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {file}: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not api.objects


@pytest.mark.parametrize("text", ["cells: [", "\x00", "a: b\n---\nc: d\n", ""])
def test_what_is_no_profile_at_all_is_refused_in_one_line(run: Run, tmp_path: Path, text: str) -> None:
    """Whatever the bytes."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    result = run("fit", str(file))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in result.output


def test_a_missing_profile_missing_kinds_and_permissions_are_named_with_a_remedy(api: FakeApi, run: Run) -> None:
    """One line each, status 1."""
    cases: list[tuple[tuple[str, ...], str]] = [
        (("export", "gone"), "cannot get SpeculationProfile gone in namespace team: there is none. See: "),
        (("export", "cspecprof/gone"), "cannot get ClusterSpeculationProfile gone: there is none."),
        (("export", "job/x"), "'job' is no kind of profile"),
        (("plot", "gone.yaml"), "gone.yaml: cannot be read: No such file"),
        (("list", "--context", "nope"), "Set KUBECONFIG, --kubeconfig or --context"),
        (("list", "--context", "elsewhere"), "the API server does not answer"),
    ]
    for arguments, message in cases:
        refused(run, arguments, message)
    api.forbidden = {"namespaces"}
    refused(run, ("list",), "Ask the cluster's administrator for that permission")
    api.installed = False
    refused(run, ("list", "-A"), "not installed: kubectl apply --server-side -f crds/")


def refused(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1, arguments
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_kubeconfig_the_remedy_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files can still be worked with."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    result = run("list")
    assert result.exit_code == 1
    assert "no cluster to talk to: kubeconfig" in result.stderr
    assert run("fit", str(EXAMPLE)).exit_code == 0


def test_a_wrong_command_line_is_status_2(run: Run) -> None:
    """As click has it."""
    assert run("diff", str(EXAMPLE)).exit_code == 2
    assert run("plot", str(EXAMPLE), "--acceptance", "2").exit_code == 2


def test_identities_differ_by_their_key() -> None:
    """The helper of these tests does what its name says."""
    assert with_identity(example(), engineVersion="0.33.0")["spec"]["key"] != example()["spec"]["key"]
