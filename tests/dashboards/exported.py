"""What operator, engines and vLLM export, read from what they serve: no list of names that could be out of date."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.stand_in_fleet import Endpoints

Labels = frozenset[str]

TARGET_LABELS = frozenset({"namespace", "pod", "instance", "job"})
"""What Prometheus adds to the series of engines and of vLLM."""


async def exported(endpoints: Endpoints) -> dict[str, Labels]:
    """Names of series, each with the labels that queries may use: those of the operator's are its own, so that its
    pod's namespace is not taken for a policy's."""
    address = next(member.address for member in endpoints.fleet.members if member.view.name == "chat-0")
    found: dict[str, Labels] = _series(endpoints.fleet.metrics.text().decode())
    async with aiohttp.ClientSession(trust_env=False) as session:
        for port in (endpoints.serving_port, endpoints.control_port):
            async with session.get(f"http://{address}:{port}/metrics") as answer:
                assert answer.status == 200, await answer.text()
                text = await answer.text()
            found |= {name: labels | TARGET_LABELS for name, labels in _series(text).items()}
    return found


def _series(text: str) -> dict[str, Labels]:
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | sample.labels.keys()
    return found
