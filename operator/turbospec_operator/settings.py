"""The operator's settings: its environment, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit
from uuid import uuid4

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "turbospec-system"


class SettingsError(ValueError):
    """A setting is unusable; the message is one line that names the variable and what it may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an installation may choose."""

    namespace: str
    """TURBOSPEC_NAMESPACE: where our Lease and master key live. Default: the pod's own namespace."""

    identity: str
    """TURBOSPEC_IDENTITY: our name in the Lease. No two running operators may have the same; one that restarts under
    its old name leads again at once. The chart gives the pod's name. Default: host name and a random number."""

    lease_seconds: float
    """TURBOSPEC_LEASE_SECONDS: how long a leader that is gone is waited for. Default 15."""

    watch_namespace: str | None
    """TURBOSPEC_WATCH_NAMESPACE: the only namespace to govern. Default: all of them."""

    interval_seconds: float
    """TURBOSPEC_INTERVAL_SECONDS: seconds from the end of one round to the start of the next. Default 2."""

    engine_port: int
    """TURBOSPEC_ENGINE_PORT: control port of engines whose pod does not say another. Default 9476."""

    metrics_host: str
    """TURBOSPEC_METRICS_HOST: address that metrics and probes listen on. Default: every address of the pod."""

    metrics_port: int
    """TURBOSPEC_METRICS_PORT: port of /metrics, /healthz and /readyz. Default 8080; 0 takes a free one."""

    profiling_priority_class: str | None
    """TURBOSPEC_PROFILING_PRIORITY_CLASS: PriorityClass of profiling pods, which must exist. Default: none."""

    prometheus_url: str | None
    """PROMETHEUS_URL: where to read fleet load from, and whom to ask for demand and its history. Default: nowhere."""

    prometheus_interval_seconds: float
    """TURBOSPEC_PROMETHEUS_INTERVAL_SECONDS: seconds between two reads of the fleet load. Default 15."""

    log_level: str
    """TURBOSPEC_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR. Default INFO."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; raises SettingsError for a value that cannot be used. Empty counts as unset."""
        return cls(
            namespace=environment.get("TURBOSPEC_NAMESPACE") or _own_namespace(),
            identity=environment.get("TURBOSPEC_IDENTITY") or f"{gethostname()}-{uuid4().hex[:8]}",
            lease_seconds=_number(environment, "TURBOSPEC_LEASE_SECONDS", 15.0, 1.0, 300.0),
            watch_namespace=environment.get("TURBOSPEC_WATCH_NAMESPACE") or None,
            interval_seconds=_number(environment, "TURBOSPEC_INTERVAL_SECONDS", 2.0, 0.1, 300.0),
            engine_port=_port(environment, "TURBOSPEC_ENGINE_PORT", 9476, lowest=1),
            metrics_host=environment.get("TURBOSPEC_METRICS_HOST") or "0.0.0.0",  # noqa: S104 kubelet probes the pod's address
            metrics_port=_port(environment, "TURBOSPEC_METRICS_PORT", 8080, lowest=0),
            profiling_priority_class=environment.get("TURBOSPEC_PROFILING_PRIORITY_CLASS") or None,
            prometheus_url=_url(environment, "PROMETHEUS_URL"),
            prometheus_interval_seconds=_number(environment, "TURBOSPEC_PROMETHEUS_INTERVAL_SECONDS", 15.0, 1.0, 600.0),
            log_level=_level(environment, "TURBOSPEC_LOG_LEVEL"),
        )


def _own_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def _number(environment: Mapping[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise SettingsError(f"{name} is {text!r}, must be a number of seconds from {lowest:g} to {highest:g}")
    return value


def _port(environment: Mapping[str, str], name: str, default: int, *, lowest: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= 65535:
        raise SettingsError(f"{name} is {text!r}, must be a port from {lowest} to 65535")
    return int(text)


def _url(environment: Mapping[str, str], name: str) -> str | None:
    text = environment.get(name) or ""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{name} is {text!r}, must be an address like http://prometheus.monitoring:9090")
    return text.rstrip("/")


def _level(environment: Mapping[str, str], name: str) -> str:
    text = (environment.get(name) or "INFO").upper()
    if text not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"{name} is {text!r}, must be DEBUG, INFO, WARNING or ERROR")
    return text
