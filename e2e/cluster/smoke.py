"""Whether a cluster can do what TurboSpec asks of one: run pods, serve Services, call webhooks in pods, give logs."""

import base64
import json
from typing import Any

from e2e.cluster.errors import ClusterError
from e2e.cluster.images import BASE_IMAGE
from e2e.cluster.local import LocalCluster
from e2e.cluster.pki import CertificateAuthority
from e2e.cluster.progress import Say
from e2e.cluster.shell import run, wait_until

NAMESPACE = "smoke"
WAIT_SECONDS = 120.0
MARK = "smoke.turbospec.io/mutated"

# A webhook in a page: patches an annotation into every ConfigMap that the API server asks it about.
WEBHOOK = f"""\
import base64, http.server, json, ssl
PATCH = [{{"op": "add", "path": "/metadata/annotations", "value": {{"{MARK}": "yes"}}}}]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{"ok": True}})

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        patch = base64.b64encode(json.dumps(PATCH).encode()).decode()
        response = {{"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}}
        self.answer({{"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
"""

Manifest = dict[str, Any]


def check(cluster: LocalCluster, say: Say) -> None:
    """Run every check on a cluster that is up and has the base image; leaves nothing in it.

    Raises:
        ClusterError: the first check that failed.
    """
    authority = CertificateAuthority("smoke")
    try:
        _apply(cluster, *_server(authority))
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/hook", f"--timeout={WAIT_SECONDS:.0f}s")
        say("ok: a pod is Ready (HTTPS readiness probe)")
        if "serving" not in cluster.kubectl("logs", "-n", NAMESPACE, "deployment/hook"):
            raise ClusterError("kubectl logs did not show what the pod printed")
        said = cluster.kubectl("exec", "-n", NAMESPACE, "deployment/hook", "--", "cat", "/etc/hostname")
        say(f"ok: logs, and exec in {said.strip()}")
        _check_service(cluster)
        say("ok: the Service answers from the node's network")
        _apply(cluster, _webhook_configuration(authority))
        wait_until(lambda: _is_mutated(cluster), seconds=WAIT_SECONDS, what="the webhook to be called")
        say("ok: the API server calls a webhook in a pod through its Service")
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", "smoke", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", f"--timeout={WAIT_SECONDS:.0f}s")


def _check_service(cluster: LocalCluster) -> None:
    address = cluster.kubectl("get", "service", "hook", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    curl = cluster.network_command(["curl", "-fsk", "--noproxy", "*", "--max-time", "5", f"https://{address}/"])

    def answers() -> bool:
        try:
            return "ok" in run(curl)
        except ClusterError:  # kube-proxy may need a moment
            return False

    wait_until(answers, seconds=WAIT_SECONDS, what="the Service to answer")


def _is_mutated(cluster: LocalCluster) -> bool:
    """A webhook configuration takes effect some time after it was accepted: make objects until one is patched."""
    cluster.kubectl("delete", "configmap", "mark", "-n", NAMESPACE, "--ignore-not-found")
    _apply(cluster, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mark", "namespace": NAMESPACE}})
    return MARK in cluster.kubectl("get", "configmap", "mark", "-n", NAMESPACE, "-o", "json")


def _apply(cluster: LocalCluster, *manifests: Manifest) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    cluster.kubectl("create", "-f", "-", text_input=document)


def _server(authority: CertificateAuthority) -> list[Manifest]:
    pair = authority.issue("hook", names=(f"hook.{NAMESPACE}.svc",))
    labels = {"app": "hook"}
    meta = {"name": "hook", "namespace": NAMESPACE}
    container = {
        "name": "hook",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "/code/hook.py"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}, {"name": "tls", "mountPath": "/tls"}],
    }
    volumes = [{"name": "code", "configMap": {"name": "hook"}}, {"name": "tls", "secret": {"secretName": "hook"}}]
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
    tls = {"tls.crt": _base64(pair.certificate), "tls.key": _base64(pair.key)}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"hook.py": WEBHOOK}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": tls},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]},
        },
    ]


def _webhook_configuration(authority: CertificateAuthority) -> Manifest:
    client = {
        "service": {"name": "hook", "namespace": NAMESPACE, "path": "/"},
        "caBundle": _base64(authority.certificate),
    }
    webhook = {
        "name": "hook.smoke.turbospec.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": client,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "smoke"},
        "webhooks": [webhook],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
