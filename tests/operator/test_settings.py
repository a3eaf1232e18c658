"""Settings come from the environment; a value that cannot be used is refused in one line."""

import pytest

from turbospec_operator.settings import Settings, SettingsError


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    """Nothing has to be set."""
    settings = Settings.from_environment({})
    assert settings.namespace == "turbospec-system"
    assert (settings.watch_namespace, settings.prometheus_url) == (None, None)
    assert settings.lease_seconds == 15.0
    assert (settings.interval_seconds, settings.engine_port, settings.metrics_port) == (2.0, 9476, 8080)


def test_empty_values_count_as_unset() -> None:
    """Charts render unset values as empty strings."""
    empty = dict.fromkeys(
        ("TURBOSPEC_NAMESPACE", "TURBOSPEC_WATCH_NAMESPACE", "TURBOSPEC_INTERVAL_SECONDS", "TURBOSPEC_METRICS_PORT",
         "TURBOSPEC_ENGINE_PORT", "TURBOSPEC_METRICS_HOST", "PROMETHEUS_URL", "TURBOSPEC_LOG_LEVEL"), ""
    )  # fmt: skip
    named = {"TURBOSPEC_IDENTITY": "operator-0"}
    assert Settings.from_environment(empty | named) == Settings.from_environment(named)


def test_two_operators_on_one_host_have_different_names() -> None:
    """Each would take the other's Lease for its own."""
    assert len({Settings.from_environment({}).identity for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TURBOSPEC_INTERVAL_SECONDS", "soon"),
        ("TURBOSPEC_INTERVAL_SECONDS", "0"),
        ("TURBOSPEC_INTERVAL_SECONDS", "nan"),
        ("TURBOSPEC_METRICS_PORT", "65536"),
        ("TURBOSPEC_METRICS_PORT", "-1"),
        ("TURBOSPEC_ENGINE_PORT", "0"),
        ("TURBOSPEC_ENGINE_PORT", "nine"),
        ("PROMETHEUS_URL", "prometheus:9090"),
        ("PROMETHEUS_URL", "http://[::1"),
        ("PROMETHEUS_URL", "http://"),
        ("TURBOSPEC_LOG_LEVEL", "LOUD"),
        ("TURBOSPEC_LEASE_SECONDS", "0.5"),
        ("TURBOSPEC_LEASE_SECONDS", "forever"),
    ],
)
def test_an_unusable_value_is_refused_by_name_in_one_line(name: str, value: str) -> None:
    """The message names the variable, repeats the value and fits one line."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)
