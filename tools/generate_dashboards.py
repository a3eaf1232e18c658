"""Write the chart's Grafana dashboards and docs/dashboards.md: ``python -m tools.generate_dashboards``."""

import sys
from pathlib import Path

from tools.dashboards import autoscaling, engine, fleet, policy, profiles
from tools.dashboards.grafana import as_json
from tools.dashboards.model import Board

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "charts" / "turbospec" / "files" / "dashboards"
DOCUMENT = ROOT / "docs" / "dashboards.md"
BOARDS = (fleet.BOARD, policy.BOARD, engine.BOARD, profiles.BOARD, autoscaling.BOARD)

HEADER = """\
# Dashboards

Written by tools/generate_dashboards.py (`make dashboards`), which also writes the dashboards themselves.

Five Grafana dashboards come with the chart:

    helm upgrade turbospec charts/turbospec --reuse-values --set dashboards.enabled=true

puts each into a ConfigMap that Grafana's sidecar finds by its label (`dashboards.labels`, by default
`grafana_dashboard: "1"`, as kube-prometheus-stack and the Grafana chart have it). `dashboards.namespace` is for
sidecars that look into their own namespace only, `dashboards.annotations` for a folder (`grafana_folder: TurboSpec`,
where the sidecar's `folderAnnotation` says so). Without a sidecar import the files of
`charts/turbospec/files/dashboards` by hand. They hold no data source: choose one at the top.

**What Prometheus must scrape.** The operator with `honorLabels: true` (its series carry the policy's own
`namespace`), engines at their control port, and vLLM at its own. Series of engines and of vLLM need the labels
`namespace` and `pod` of their target: that is how they are brought together and to their policy. The chart's
ServiceMonitor and PodMonitor ([install.md](install.md)) do both; a monitor for vLLM's own series is yours. Rates are
taken over `$__rate_interval`, so the scrape interval of the data source in Grafana must be the real one.

**Off** is the same engine at K = 0. An engine that was started without a drafter is faster than that, so no panel
shows the gain over plain vLLM as measured: no running engine can tell. *Replicas saved* on Autoscaling is worked out
from a profile that measured both.

Alerts have their own pages in [runbooks](runbooks/README.md).

The pictures are drawn by `make e2e-dashboards` (into `build/dashboards`): each panel in its place, from the answers
of a real Prometheus to its own queries, over the operator, three policies and twenty stand-ins on two nodes of a
local cluster, in four minutes of changing load. One stand-in has no drafter, one no runtime, so that not all is well.
Grafana draws them more finely.
"""


def document() -> str:
    """The whole page: what each panel tells, in the panels' own words."""
    return HEADER + "".join(_section(board) for board in BOARDS)


def _section(board: Board) -> str:
    rows = "".join(
        f"| {section.title}: {panel.title} | {panel.description} |\n"
        for section in board.sections
        for panel in section.panels
    )
    title = board.title.removeprefix("TurboSpec / ")
    picture = f"![Dashboard {title}](images/dashboard-{board.name}.png)"
    return f"\n## {title}\n\n{board.description}\n\n{picture}\n\n| panel | what it tells |\n| --- | --- |\n{rows}"


def main() -> int:
    """Write all files; those of dashboards that are gone go."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in set(FOLDER.glob("*.json")) - {FOLDER / f"{board.name}.json" for board in BOARDS}:
        stale.unlink()
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(as_json(board))
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
