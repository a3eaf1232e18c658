"""What stands in for adapters and for users in the autoscaling suite."""

import pytest
from prometheus_client.samples import Sample

from e2e.autoscaling.external_metrics import PODS_AT_FULL_LOAD, RATIO, metric_value
from e2e.autoscaling.open_load import expected_requests, rate_at

RAMP = ((0.0, 1.0), (10.0, 1.0), (30.0, 5.0))


def of(name: str, value: float, key: str, target: str = "chat") -> Sample:
    return Sample(name, {"namespace": "team", "scale_target": target, "profile_key": key}, value)


SAMPLES = [
    of(RATIO, 0.5, "a"), of(RATIO, 0.9, "b"), of(RATIO, 3.0, "a", "code"),
    of(PODS_AT_FULL_LOAD, 2.0, "a"), of(PODS_AT_FULL_LOAD, 1.5, "b"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "target", "value"),
    [
        (RATIO, "chat", 0.9),
        (PODS_AT_FULL_LOAD, "chat", 3.5),
        (PODS_AT_FULL_LOAD, "code", None),
        ("other", "chat", None),
    ],
)
def test_two_kinds_of_hardware_are_the_largest_ratio_and_the_sum_of_pods(
    name: str, target: str, value: float | None
) -> None:
    """As the examples have it; what is not there is unknown."""
    assert metric_value(name, SAMPLES, {"namespace": "team", "scale_target": target}) == value


@pytest.mark.parametrize(("second", "rate"), [(0.0, 1.0), (9.9, 1.0), (20.0, 3.0), (30.0, 0.0), (-1.0, 0.0)])
def test_rates_lie_on_lines_and_end_with_them(second: float, rate: float) -> None:
    assert rate_at(RAMP, second) == pytest.approx(rate)


def test_as_many_come_as_the_lines_hold() -> None:
    assert expected_requests(RAMP) == pytest.approx(10.0 + 20.0 * 3.0)
