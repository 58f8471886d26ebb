"""The image, the compose file and the manifests, checked with the tools of those who run them; no engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent
KUBERNETES = "1.33"
MANIFESTS = [*sorted((DEPLOY / "kubernetes" / "manifests").glob("*.yaml")), DEPLOY / "kubernetes" / "migrate.yaml"]
# What is named in deploy/README.md, without its addresses and ports.
COMMANDS = {
    "code": "dagster code-server start -m xero_pipeline.definitions",
    "daemon": "dagster-daemon run --workspace workspace.yaml",
    "admin": "xero-pipeline admin",
    "webserver": "dagster-webserver --path-prefix /dagster --workspace workspace.yaml",
    "migrate": "xero-pipeline migrate",
}


def strip_addresses(command: list[str] | str) -> str:
    text = command if isinstance(command, str) else " ".join(command)
    return re.sub(r" --(host|port) \S+", "", text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file as Docker Compose itself understands it, with every profile."""
    command = [str(TOOLS / "docker-compose"), "-f", str(DEPLOY / "compose.yaml"), "--profile", "*"]
    done = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
    return read


def read_manifests() -> list[dict[str, Any]]:
    return [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text())]


def test_readme_units_and_compose_name_the_same_commands(compose: dict[str, Any]) -> None:
    readme = (DEPLOY / "README.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```\n", readme, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```\n", "", readme, flags=re.MULTILINE | re.DOTALL)
    assert set(COMMANDS.values()) <= set(map(strip_addresses, re.findall(r"`([^`]+)`", prose)))
    by_hand = {strip_addresses(line.removesuffix(" &")) for line in blocks[0].splitlines()}
    assert {COMMANDS[name] for name in ("migrate", "code", "daemon", "admin")} <= by_hand
    for service, command in COMMANDS.items():
        assert strip_addresses(compose["services"][service]["command"]) == command
    for unit in ("code", "daemon", "admin"):
        text = (DEPLOY / "systemd" / f"xero-{unit}.service").read_text()
        (started,) = re.findall(r"^ExecStart=/srv/xero/\.venv/bin/(.+)$", text, re.MULTILINE)
        assert strip_addresses(started) == COMMANDS[unit]


def test_no_container_of_ours_can_write_to_its_image_or_gain_rights(compose: dict[str, Any]) -> None:
    for name in COMMANDS:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]


def test_only_the_admin_page_has_a_port_and_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if service.get("ports")}
    assert list(published) == ["admin"]
    assert [port["host_ip"] for port in published["admin"]] == ["127.0.0.1"]


def test_no_secret_is_in_a_layer_or_in_the_environment_of_a_container(compose: dict[str, Any]) -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in allowed
    for name in (".env", "data", "secrets", ".git"):
        assert f"!{name}" not in allowed
    secret = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|DATABASE_URL)$")
    assert not [
        line
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if re.match(r"(ENV|ARG).*" + secret.pattern, line)
    ]
    for service in compose["services"].values():
        assert [name for name in service.get("environment", {}) if secret.search(name)] == []


def test_the_image_copies_only_what_reaches_the_builder_and_runs_as_a_user() -> None:
    text = (ROOT / "Dockerfile").read_text()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in [word for word in line.split()[:-1] if not word.startswith("--")]:
            assert source in allowed or str(Path(source).parent) in allowed, source
            assert (ROOT / source).exists()
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes -r requirements-image.lock" in text


def test_the_image_has_what_the_other_lock_files_have() -> None:
    pattern = re.compile(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==([^ \n]+)", re.MULTILINE)
    image, run, dev = (
        dict(pattern.findall((ROOT / f"requirements{name}.lock").read_text())) for name in ("-image", "", "-dev")
    )
    assert run.items() <= image.items() <= dev.items()
    assert image["dagster-k8s"].split(".")[-1] == image["dagster"].split(".")[-1]


@pytest.mark.parametrize("manifest", read_manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_manifest_fits_kubernetes_own_schema(manifest: dict[str, Any]) -> None:
    import kubernetes_validate

    assert kubernetes_validate.validate(manifest, KUBERNETES, strict=True) is not None
    assert manifest["metadata"]["namespace"] == "xero"


def list_pod_specs() -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in read_manifests() if one["kind"] in {"Deployment", "Job"}]


def test_every_pod_of_ours_is_confined() -> None:
    for pod in list_pod_specs():
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert strip_addresses(container["args"]) in COMMANDS.values()


def test_no_network_policy_lets_anything_but_the_page_and_the_daemon_reach_dagster() -> None:
    policies = [one["spec"] for one in read_manifests() if one["kind"] == "NetworkPolicy"]
    incoming = {json.dumps(one["podSelector"]): one for one in policies if one["policyTypes"] == ["Ingress"]}
    assert "ingress" not in incoming["{}"], "nothing comes in by itself"
    to_code = incoming['{"matchLabels": {"component": "user-deployments"}}']
    (rule,) = to_code["ingress"]
    assert [one["podSelector"]["matchLabels"] for one in rule["from"]] == [
        {"app": "xero-admin"},
        {"component": "dagster-daemon"},
    ]
    assert not [selector for selector in incoming if "webserver" in selector]


def test_the_job_of_a_run_fits_kubernetes_own_schema_and_is_confined(values: dict[str, Any]) -> None:
    import kubernetes_validate
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    (deployment,) = values["dagster-user-deployments"]["deployments"]
    image = f"{deployment['image']['repository']}:{deployment['image']['tag']}"
    run_config = dict(values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"])
    config = UserDefinedDagsterK8sConfig.from_dict(
        {re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key): value for key, value in run_config.items()}
    )
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=image,
            dagster_home=values["global"]["dagsterHome"],
            postgres_password_secret=values["global"]["postgresqlSecretName"],
            volume_mounts=deployment["volumeMounts"],
            volumes=deployment["volumes"],
        ),
        args=["dagster", "api", "execute_run", "{}"],
        job_name="dagster-run-1",
        user_defined_k8s_config=config,
    )
    manifest = ApiClient().sanitize_for_serialization(job)
    manifest = {"apiVersion": "batch/v1", "kind": "Job"} | manifest
    assert kubernetes_validate.validate(manifest, KUBERNETES, strict=True) is not None
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]["memory"] == "512Mi"
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted >= {mount["mountPath"] for mount in deployment["volumeMounts"]}


# The names that the schema of Dagster's chart 1.13 (helm/dagster/schema in its repository) allows where it refuses
# others, as far as we use them. The schema itself is not ours to copy.
CHART_NAMES = {
    "dagsterWebserver": {"replicaCount", "image", "env", "volumes", "volumeMounts", "resources"},
    "dagsterDaemon": {"enabled", "image", "env", "volumes", "volumeMounts", "podSecurityContext", "securityContext",
                      "resources", "runCoordinator", "runMonitoring", "runRetries"},
    "dagsterDaemon.runCoordinator": {"enabled", "type", "config"},
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": {"maxConcurrentRuns", "tagConcurrencyLimits",
                                                                 "dequeueIntervalSeconds"},
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator.tagConcurrencyLimits.0": {"key", "value", "limit"},
    "dagsterDaemon.runRetries": {"enabled", "maxRetries", "retryOnAssetOrOpFailure"},
    "runLauncher": {"type", "config"},
    "runLauncher.config.k8sRunLauncher": {"imagePullPolicy", "loadInclusterConfig", "envConfigMaps", "envSecrets",
                                          "envVars", "volumes", "volumeMounts", "labels", "runK8sConfig"},
    "runLauncher.config.k8sRunLauncher.runK8sConfig": {"containerConfig", "podSpecConfig", "podTemplateSpecMetadata",
                                                       "jobSpecConfig", "jobMetadata"},
    "computeLogManager": {"type", "config"},
    "retention": {"enabled", "sensor", "schedule"},
    "retention.sensor.purgeAfterDays": {"skipped", "success", "failure", "started"},
}  # fmt: skip


@pytest.mark.parametrize("section", CHART_NAMES)
def test_the_values_name_only_what_dagsters_chart_takes(values: dict[str, Any], section: str) -> None:
    found: Any = values
    for name in section.split("."):
        found = found[int(name)] if name.isdecimal() else found[name]
    assert set(found) <= CHART_NAMES[section]


def test_the_values_make_settings_that_dagster_takes(values: dict[str, Any], tmp_path: Path) -> None:
    """The chart's ConfigMap has the same settings under Dagster's own names."""

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key): rename(one) for key, one in value.items()
            }
        return [rename(one) for one in value] if isinstance(value, list) else value

    daemon = values["dagsterDaemon"]
    limits = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    queue = rename(limits) | {"tag_concurrency_limits": limits["tagConcurrencyLimits"]}
    settings = {
        "run_coordinator": {"module": "dagster", "class": daemon["runCoordinator"]["type"], "config": queue},
        "run_monitoring": rename(daemon["runMonitoring"]),
        "run_retries": rename(daemon["runRetries"]),
        "retention": rename({key: values["retention"][key] for key in ("sensor", "schedule")}),
        "python_logs": rename(values["pythonLogs"]),
        "telemetry": values["telemetry"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        read = instance.get_concurrency_config().run_queue_config
    assert read is not None
    assert read.max_concurrent_runs == limits["maxConcurrentRuns"]
    assert read.tag_concurrency_limits == limits["tagConcurrencyLimits"]


def test_values_and_manifests_name_one_image_and_one_code_server(values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    image = f"{deployment['image']['repository']}:{deployment['image']['tag']}"
    images = {container["image"] for pod in list_pod_specs() for container in pod["containers"]}
    assert images == {image}
    assert values["dagsterDaemon"]["image"] == values["dagsterWebserver"]["image"] == deployment["image"]
    assert re.fullmatch("[a-z0-9-]+", deployment["name"]), "the chart allows no underscore"
    args = " ".join(deployment["codeServerArgs"])
    assert f"dagster code-server start {args}" == COMMANDS["code"]
    (workspace,) = [one for one in read_manifests() if one["kind"] == "ConfigMap"]
    ((server,),) = [yaml.safe_load(workspace["data"]["workspace.yaml"])["load_from"]]
    assert server["grpc_server"] == {"host": deployment["name"], "port": deployment["port"], "location_name": "xero"}


def test_a_password_in_a_file_reaches_dagsters_own_commands(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a pass'word")
    done = subprocess.run(
        [DEPLOY / "image" / "run-with-secrets", "sh", "-c", 'printf %s "$DAGSTER_PG_PASSWORD:$DAGSTER_PG_PORT"'],
        env={"PATH": "/usr/bin:/bin", "DAGSTER_PG_PASSWORD_FILE": str(file)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "a pass'word:5432"
