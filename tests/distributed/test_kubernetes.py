"""The manifests of examples/kubernetes: valid, consistent, and what they run runs."""

from __future__ import annotations

from itertools import chain
import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import kubernetes_validate
import optuna
from optuna.storages import GrpcStorageProxy
import pytest
import yaml

from tests.servers import free_port


FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]
NAMES = [f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in MANIFESTS]
WORKLOADS = [manifest for manifest in MANIFESTS if "template" in manifest["spec"]]
SERVICES = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == "Service"}
WAIT_SECONDS = 120.0


def pod(workload):
    return workload["spec"]["template"]["spec"]


def workload_named(name):
    [found] = [w for w in WORKLOADS if w["metadata"]["name"] == name]
    return found


def container(workload):
    [only] = pod(workload)["containers"]
    return only


def containers(workload):
    return [*pod(workload).get("initContainers", []), container(workload)]


def generated(kind):
    """The files of the ConfigMaps or Secrets that kustomize generates, by name."""
    return {g["name"]: set(g["files"]) for g in KUSTOMIZATION[f"{kind}Generator"]}


def schema_errors(manifest, version):
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message
    return None


each_manifest = pytest.mark.parametrize("manifest", MANIFESTS, ids=NAMES)
each_workload = pytest.mark.parametrize(
    "workload", WORKLOADS, ids=[w["metadata"]["name"] for w in WORKLOADS]
)


def test_all_files_are_applied():
    files = {file.name for file in FOLDER.glob("*.yaml")}
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@each_manifest
def test_manifest_is_valid(manifest, version):
    assert schema_errors(manifest, version) is None
    misspelt = {**manifest, "spec": {**manifest["spec"], "replica": 1}}
    assert "replica" in schema_errors(misspelt, version)


@each_workload
def test_selector_finds_the_pods_of_this_workload_only(workload):
    selector = workload["spec"]["selector"]["matchLabels"].items()
    found = [
        w for w in WORKLOADS if selector <= w["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert found == [workload]


@pytest.mark.parametrize("name", SERVICES)
def test_service_finds_one_workload_and_its_port(name):
    spec = SERVICES[name]["spec"]
    selector = spec["selector"].items()
    [found] = [
        w for w in WORKLOADS if selector <= w["spec"]["template"]["metadata"]["labels"].items()
    ]
    ports = {port["name"]: port["containerPort"] for port in container(found)["ports"]}
    for port in spec["ports"]:
        assert ports[port["targetPort"]] == port["port"]


def test_network_policy_covers_all_pods_and_lets_them_talk():
    [policy] = [m["spec"] for m in MANIFESTS if m["kind"] == "NetworkPolicy"]
    [rule] = policy["ingress"]
    for selector in (policy["podSelector"], rule["from"][0]["podSelector"]):
        for w in WORKLOADS:
            labels = w["spec"]["template"]["metadata"]["labels"]
            assert selector["matchLabels"].items() <= labels.items()


@each_workload
def test_what_a_pod_refers_to_exists(workload):
    spec, main = pod(workload), container(workload)
    if workload["kind"] == "StatefulSet":
        assert workload["spec"]["serviceName"] in SERVICES

    files = {"configMap": generated("configMap"), "secret": generated("secret")}
    held = {}
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            held[volume["name"]] = files["configMap"][volume["configMap"]["name"]]
        elif "secret" in volume:
            held[volume["name"]] = files["secret"][volume["secret"]["secretName"]]
            assert {i["key"] for i in volume["secret"]["items"]} <= held[volume["name"]]
        else:
            held[volume["name"]] = None
    claims = workload["spec"].get("volumeClaimTemplates", [])
    held |= dict.fromkeys((claim["metadata"]["name"] for claim in claims), None)
    paths = {m["mountPath"]: held.pop(m["name"]) for m in main.get("volumeMounts", [])}
    assert not held, "A volume is not mounted."
    for variable in main["env"]:
        if "valueFrom" in variable:
            key = variable["valueFrom"]["secretKeyRef"]
            assert key["key"] in files["secret"][key["name"]]

    # Files that are named in arguments or variables, within what is mounted.
    words = [*main.get("command", []), *main.get("args", [])]
    words += [variable.get("value", "") for variable in main["env"]]
    for word in words:
        for path, names in paths.items():
            if names is not None and word.startswith(f"{path}/"):
                assert word.removeprefix(f"{path}/").split(":")[0] in names
    variables = {variable["name"] for variable in main["env"]}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(words))) <= variables


@pytest.mark.parametrize("file", sorted(set().union(*generated("configMap").values())))
def test_script_of_a_config_map_exists(file):
    assert (FOLDER / file).is_file()


@each_workload
def test_storage_is_the_database_and_holds_no_password(workload):
    database = container(workload_named("optuna-postgresql"))
    created = {variable["name"]: variable.get("value") for variable in database["env"]}
    for variable in chain.from_iterable(c["env"] for c in containers(workload)):
        if variable["name"] == "OPTUNA_STORAGE":
            url = urlsplit(variable["value"])
            [port] = SERVICES[url.hostname]["spec"]["ports"]
            assert (url.scheme, url.port) == ("postgresql+psycopg", port["port"])
            assert (url.username, url.password) == (created["POSTGRES_USER"], None)
            assert url.path == f"/{created['POSTGRES_DB']}"


@each_workload
def test_no_secret_is_in_plain_text(workload):
    for variable in chain.from_iterable(c["env"] for c in containers(workload)):
        if re.search("(?i)password|secret|token", variable["name"]):
            is_path = variable["name"].endswith("_FILE")
            assert is_path or "secretKeyRef" in variable["valueFrom"]
    assert "password" in (FOLDER / ".gitignore").read_text().split()


@each_workload
def test_pod_asks_for_resources_ends_in_time_and_has_few_rights(workload):
    spec = pod(workload)
    assert spec["terminationGracePeriodSeconds"] >= 10
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for each in containers(workload):
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
        assert "memory" in each["resources"]["limits"]
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@each_workload
def test_what_serves_is_probed_at_its_port(workload):
    main = container(workload)
    ports = {port["name"] for port in main.get("ports", [])}
    probes = {kind: main[kind] for kind in main if kind.endswith("Probe")}
    if ports:
        assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for probe in probes.values():
        action = probe.get("tcpSocket") or probe.get("httpGet")
        assert "exec" in probe or action["port"] in ports


def test_images_are_ours_or_of_one_version():
    ours = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    for image in {each["image"] for w in WORKLOADS for each in containers(w)}:
        if image not in ours:
            assert re.fullmatch(r"[\w/.-]+:\d[\w.-]*", image)
    text = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert set(ours.values()) == {re.search(r'(?m)^version = "(.*)"', text).group(1)}


def test_a_worker_has_one_gpu_and_no_pod_waits_for_one_more():
    worker = workload_named("optuna-worker")
    assert container(worker)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def command_of(container):
    """The command of a container, with the scripts where they are here."""
    words = [*container["command"], *container.get("args", [])]
    words = [word.replace("/etc/optuna", str(FOLDER)) for word in words]
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]


def test_what_the_pods_run_runs(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    environment = {**os.environ, "OPTUNA_STORAGE": url, "OMP_NUM_THREADS": "1"}

    def run(command):
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{shlex.join(command)}: {result.stderr}"

    [tables, _] = containers(workload_named("optuna-dashboard"))
    run(command_of(tables))
    # As the dashboard opens it: nothing is created.
    storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
    assert optuna.get_all_study_names(storage) == []
    run([*command_of(container(workload_named("optuna-worker"))), "--n-trials", "2"])

    port = free_port()
    command = command_of(container(workload_named("optuna-grpc-proxy")))
    proxy = subprocess.Popen(command, env={**environment, "PORT": str(port)})
    try:
        storage = GrpcStorageProxy(host="127.0.0.1", port=port)
        storage.wait_server_ready(timeout=WAIT_SECONDS)
        assert len(optuna.load_study(study_name="digits", storage=storage).trials) == 2
        storage.close()
        # The container's first process has no default action for SIGTERM.
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait(WAIT_SECONDS) == 0
    finally:
        proxy.kill()
        proxy.wait()
