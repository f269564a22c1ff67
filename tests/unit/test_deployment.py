"""The files that operators start from: image, compose, locks, alerts and runbooks hold together, and with the code."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from celery.bin.celery import celery as celery_command

from api.app import create_app
from api.cli.main import app as backline
from deploy import slim
from deploy.parts import WORKER_SECONDS
from deploy.sbom import LOCKS, write
from shared.broker import Queue
from shared.settings import SECRET_FILES, Settings, variable_of

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
KUBERNETES = "1.33"
NUMERIC = ("av", "numpy", "onnx", "onnxruntime", "scipy", "soundfile", "soxr", "tokenizers", "usearch")


def tool(name: str) -> str:
    """Return a program of this environment or machine; skip where it is not to be had."""
    found = next((str(BIN / name) for _ in "1" if (BIN / name).exists()), shutil.which(name))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def pins(lock: Path) -> set[str]:
    return {line.split(" ", 1)[0] for line in lock.read_text().splitlines() if re.match(r"^[a-z0-9_.-]+==", line)}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


# Image


def test_what_an_image_is_made_smaller_by_is_there() -> None:
    packages = Path(sysconfig.get_path("purelib"))

    assert all(importlib.util.find_spec(name) for name in (*slim.IMPORTED, *slim.HEAVY))
    assert [pattern for pattern in slim.UNUSED if not any(packages.glob(pattern))] == []


def test_both_images_are_made_smaller() -> None:
    stages = dict(
        re.findall(
            r"^FROM base AS (api|worker)\nCOPY --from=(\S+) /opt/backline", (DEPLOY / "Dockerfile").read_text(), re.M
        )
    )

    assert stages == {"api": "slim-api", "worker": "slim-worker"}


def test_the_dockerfile_is_clean() -> None:
    done = run(tool("hadolint"), "deploy/Dockerfile")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["api", "worker", "build"])
def test_an_image_has_the_very_versions_that_are_tested(name: str) -> None:
    everything, part = pins(ROOT / "requirements.lock"), pins(DEPLOY / f"requirements-{name}.lock")

    assert part
    assert part <= everything, "renew them: make lock"


def test_the_image_of_the_front_door_has_no_numeric_library() -> None:
    names = {pin.partition("==")[0] for pin in pins(DEPLOY / "requirements-api.lock")}

    assert "fastapi" in names
    assert not names & set(NUMERIC)


LEAVE_OUT = """
import importlib, re, sys
from importlib.metadata import packages_distributions

missing = {
    top
    for top, owners in packages_distributions().items()
    if MINE.isdisjoint(re.sub(r"[-_.]+", "-", owner).lower() for owner in owners)
}


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Finder())
for name in NAMES:
    importlib.import_module(name)
"""
"""Imports modules where the packages of other images are not to be had."""


def test_what_the_image_of_the_front_door_runs_needs_no_package_that_it_lacks() -> None:
    mine = {pin.partition("==")[0] for pin in pins(DEPLOY / "requirements-api.lock")} | {"backline"}

    done = run(sys.executable, "-c", f"MINE = {mine!r}\nNAMES = {slim.IMPORTED!r}\n{LEAVE_OUT}")

    assert {"workers.tasks", "api.server"} <= set(slim.IMPORTED)
    assert done.returncode == 0, done.stderr


def test_an_image_runs_as_nobody_and_its_checks_need_no_shell() -> None:
    stages = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")
    final = {stage.split()[2]: stage for stage in stages if re.match(r"base AS (api|worker)\n", stage)}

    assert set(final) == {"api", "worker"}
    for stage in final.values():
        assert "\nUSER 10001:10001\n" in stage
        assert re.search(r"\nHEALTHCHECK .*\\\n +CMD \[", stage)
        assert "\nCMD [" in stage
    assert not re.search(r"(?i)(password|secret|token|api_key)\s*=", "".join(stages))


def test_everything_that_the_dockerfile_copies_is_there_and_let_through() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


@pytest.mark.parametrize("image", list(LOCKS))
def test_the_bill_of_materials_of_an_image_is_valid_and_has_every_locked_package(image: str, tmp_path: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-bom is not installed")
    version = pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_6

    text = write(image, tmp_path).read_text()

    bill = json.loads(text)
    assert validation.JsonStrictValidator(version).validate_str(text) is None
    assert bill["metadata"]["component"]["name"] == "backline"
    found = {f"{one['name']}=={one['version']}" for one in bill["components"]}
    assert found == {pin for lock in LOCKS[image] for pin in pins(ROOT / lock)}
    assert all(reference["hashes"] for one in bill["components"] for reference in one["externalReferences"])
    assert write(image, tmp_path).read_text() == text


# Compose


def test_the_compose_file_is_valid_by_the_published_schema() -> None:
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")

    assert done.returncode == 0, done.stdout


def test_docker_itself_takes_the_compose_file_and_refuses_it_without_secrets(tmp_path: Path) -> None:
    docker = tool("docker")
    if run(docker, "compose", "version").returncode:
        pytest.skip("docker has no compose")
    filled = re.sub(r"(?m)^([A-Z_]+)=$", r"\1=/abc", (ROOT / ".env.example").read_text())
    (tmp_path / "env").write_text(filled)

    good = run(docker, "compose", "--env-file", str(tmp_path / "env"), "config", "--quiet")
    bad = run(docker, "compose", "--env-file", "/dev/null", "config", "--quiet")

    assert good.returncode == 0, good.stderr
    assert bad.returncode != 0
    assert "in .env" in bad.stderr


def test_the_example_names_every_variable_of_the_compose_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    required = set(re.findall(r"(?<!\$)\$\{([A-Z_]+):\?", text))
    optional = set(re.findall(r"(?<!\$)\$\{([A-Z_]+):-", text))

    assert required
    assert required == set(re.findall(r"(?m)^([A-Z_]+)=$", example))
    assert optional == set(re.findall(r"(?m)^#([A-Z_]+)=", example))
    assert all(f"${{{name}:?set {name} in .env}}" in text for name in required)


def test_only_the_front_door_and_the_dashboards_are_published_and_on_loopback(compose: Any) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}

    assert set(published) == {"api", "flower", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    for name in ("redis", "mongo", "worker-index", "search", "beat"):
        assert compose["services"][name]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True


def test_every_service_is_bounded_and_watched(compose: Any) -> None:
    ours = ("api", "worker-cpu", "worker-control", "worker-index")  # their images have a check of their own
    for name, service in compose["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        assert service["restart"] == "unless-stopped", name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "healthcheck" in service or name in ours, name
        if name != "mongo":  # it begins as root, and makes its files its own
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_each_queue_has_a_worker_with_time_to_stop(compose: Any) -> None:
    workers = {name: one for name, one in compose["services"].items() if name.startswith("worker-")}
    served = [one["command"][one["command"].index("-Q") + 1].split(",") for one in workers.values()]

    assert sorted(queue for queues in served for queue in queues) == sorted(Queue)
    assert all(int(one["stop_grace_period"].rstrip("s")) > WORKER_SECONDS for one in workers.values())
    assert compose["services"]["beat"]["deploy"]["replicas"] == 2


DURATION = re.compile(r"(\d+)s")
CREDENTIAL = re.compile(r"(?i)(password|token|secret|replica_key)")


def test_what_is_read_only_has_memory_to_write_to(compose: Any) -> None:
    for name, service in compose["services"].items():
        if service.get("read_only"):
            paths = {one.partition(":")[0] for one in service["tmpfs"]}
            assert paths & {"/tmp", "/run/valkey"}, name


def test_each_service_waits_for_the_servers_that_it_needs_to_be_well(compose: Any) -> None:
    services = compose["services"]
    for name, service in services.items():
        if name in ("redis", "mongo", "prometheus"):
            continue
        needs = {"prometheus"} if name == "grafana" else {"redis", "mongo"}
        assert {one: how["condition"] for one, how in service["depends_on"].items()} == dict.fromkeys(
            needs, "service_healthy"
        ), name
        assert all("healthcheck" in services[one] for one in needs)


def test_checks_need_no_shell_and_end_before_the_next(compose: Any) -> None:
    for name, service in compose["services"].items():
        check = service.get("healthcheck")
        if check is None:
            continue
        # valkey-cli takes the password from a variable, which only a shell hands over from another one.
        (kind, *_) = check.get("test", ["CMD"])  # else that of the image
        assert kind == ("CMD-SHELL" if name == "redis" else "CMD"), name
        (interval,), (timeout,) = (DURATION.findall(str(check.get(key, "5s"))) for key in ("interval", "timeout"))
        assert int(timeout) <= max(int(interval), 10), name


def test_the_broker_keeps_what_it_is_given_and_the_database_is_a_replica_set(compose: Any) -> None:
    redis, mongo = (" ".join(compose["services"][name]["command"]) for name in ("redis", "mongo"))

    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis
    assert "requirepass" in redis
    assert "--replSet rs0" in mongo
    assert "--keyFile" in mongo
    assert "MONGO_INITDB_ROOT_PASSWORD" in compose["services"]["mongo"]["environment"]
    named = {one.partition(":")[0] for service in compose["services"].values() for one in service.get("volumes", ())}
    assert set(compose["volumes"]) == {name for name in named if re.fullmatch(r"[a-z-]+", name)}


def test_every_credential_comes_from_the_environment_and_there_is_a_start_without_dashboards(compose: Any) -> None:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if CREDENTIAL.search(variable) and not variable.endswith("_FILE"):
                assert ":?" in value, f"{name}: {variable}"
    profiles = {name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service}
    assert profiles == {"prometheus": ["observability"], "grafana": ["observability"]}


def test_indexes_are_written_by_builders_and_only_read_by_the_search_server(compose: Any) -> None:
    mounted = {
        name: one.rpartition(":")[2] == "ro"
        for name, service in compose["services"].items()
        for one in service.get("volumes", ())
        if one.startswith("indexes:")
    }
    assert mounted == {"worker-cpu": False, "worker-index": False, "search": True}
    assert compose["services"]["search"]["command"][:3] == ["python", "-m", "workers.search"]


UNPACKING = ("worker-control", "worker-cpu", "worker-index")
"""Who plans an import, stores its entries, settles it: each reads the source, and may have to unpack it."""


def test_whoever_works_on_an_import_reads_its_source_and_has_a_place_to_unpack_it(compose: Any) -> None:
    music = "${MUSIC_DIR:?set MUSIC_DIR in .env}"

    for name in UNPACKING:
        service = compose["services"][name]
        assert {f"{music}:{music}:ro", "work:/var/lib/backline"} <= set(service["volumes"]), name
        assert service["environment"]["BACKLINE_MUSIC_ROOTS"] == music


def test_a_start_is_seen_before_the_next_of_the_regular_checks(compose: Any) -> None:
    slow = {
        name: service["healthcheck"]
        for name, service in compose["services"].items()
        if "profiles" not in service and service.get("healthcheck", {}).get("interval", "30s") != "5s"
    }

    assert set(slow) == set(compose["services"]) - {"redis", "prometheus", "grafana"}
    for name, check in slow.items():
        (seconds,) = DURATION.findall(check["start_interval"])
        assert int(seconds) <= 10, name


def test_the_compose_file_sets_nothing_but_settings_that_there_are(compose: Any) -> None:
    known = {f"BACKLINE_{name.upper()}" for name in Settings.model_fields}
    for service in compose["services"].values():
        for name in service.get("environment", {}):
            # BACKLINE_PASSWORD is read by the script that makes MongoDB's user.
            assert not name.startswith("BACKLINE_") or name in known | {"BACKLINE_PASSWORD"}


# Alerts and runbooks


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_configuration_of_prometheus_is_valid(tmp_path: Path) -> None:
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/", f"{DEPLOY}/prometheus/"))

    done = run(tool("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_asks_every_service_of_the_compose_file_that_counts(compose: Any) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    asked = {name for job in config["scrape_configs"] for found in job["dns_sd_configs"] for name in found["names"]}

    assert asked == {"api", "search", *(name for name in compose["services"] if name.startswith("worker-"))}


def test_each_alert_fires_and_recovers() -> None:
    done = run(tool("promtool"), "test", "rules", "deploy/prometheus/tests/alerts_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_in_which_it_is_quiet_fires_and_recovers() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus" / "tests" / "alerts_test.yml").read_text())["tests"]
    seen = {
        test["name"]: [
            bool(step["exp_alerts"]) for step in test["alert_rule_test"] if step["alertname"] == test["name"]
        ]
        for test in tests
    }

    assert seen == {alert["alert"]: [False, True, False] for alert in alerts()}


def test_each_alert_leads_to_a_runbook_and_each_runbook_to_the_next() -> None:
    books = {path.name for path in (DEPLOY / "runbooks").glob("*.md")}

    assert {Path(alert["annotations"]["runbook"]).name for alert in alerts()} == books
    for path in (DEPLOY / "runbooks").glob("*.md"):
        assert {"## Look at", "## Do"} <= set(path.read_text().splitlines())
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert link in books


GUIDES = ("backup", "upgrade")


def commands() -> Iterator[Any]:
    for path in (*sorted((DEPLOY / "runbooks").glob("*.md")), *(ROOT / "docs" / f"{name}.md" for name in GUIDES)):
        for block in re.findall(r"```\n(.*?)```", path.read_text(), re.DOTALL):
            for line in block.splitlines():
                if line.strip():
                    yield pytest.param(line.strip(), id=f"{path.stem}: {line.strip()[:50]}")


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_in_a_runbook_exists(line: str, compose: Any, settings: Settings) -> None:
    program, *arguments = shlex.split(line)

    checks = {
        "backline": lambda: parses(typer.main.get_command(backline), "backline", arguments),
        "celery": lambda: parses(celery_command, "celery", arguments),
        "docker": lambda: known_to_docker(arguments, compose),
        "kubectl": lambda: known_to_kubernetes(arguments),
        "curl": lambda: is_route(arguments[-1], settings),
        "promtool": lambda: arguments[:2] == ["query", "instant"],
        "mongosh": lambda: arguments[1] == "--eval",
        "mongodump": lambda: "--oplog" in arguments,
        "mongorestore": lambda: "--oplogReplay" in arguments,
        "cp": lambda: arguments[0] == "-a",
        "openssl": lambda: arguments[0] == "s_client",
        "df": lambda: arguments == ["-h"],
    }
    assert program in checks, f"{program} is no program that runbooks use"
    assert checks[program](), line


def parses(command: Any, name: str, arguments: list[str]) -> bool:
    """Whether a command line has only commands, options and values that there are; nothing is run."""
    context = command.make_context(name, list(arguments), resilient_parsing=False)
    if not hasattr(command, "resolve_command"):
        return True
    found, inner, rest = command.resolve_command(context, context._protected_args + context.args)
    assert inner is not None
    return parses(inner, str(found), rest)


DOCKER = {("system", "df", "--verbose"), ("image", "prune")}
COMPOSE = {"ps", "logs", "up", "restart", "exec"}


def known_to_docker(arguments: list[str], compose: Any) -> bool:
    if tuple(arguments) in DOCKER:
        return True
    services = set(compose["services"])
    is_compose, verb, *rest = arguments
    if verb == "exec":
        return rest[0] in services and rest[1:3] == ["sh", "-c"] and "valkey-cli" in rest[3]
    scaled = {one.partition("=")[0] for one in rest if "=" in one}
    words = {one for one in rest if not one.startswith("-") and "=" not in one and not re.fullmatch(r"\d+m?", one)}
    return is_compose == "compose" and verb in COMPOSE and words | scaled <= services


def known_to_kubernetes(arguments: list[str]) -> bool:
    if arguments[:2] == ["apply", "-k"]:
        return (ROOT / arguments[2] / "kustomization.yaml").is_file()
    assert arguments[0] == "-n"
    namespace, verb, *rest = arguments[1:]
    if namespace != "backline":  # what is not ours can't be looked at here
        return verb == "logs"
    texts = "".join(path.read_text() for path in (DEPLOY / "k8s").rglob("*.yaml"))
    objects = {(one["kind"].lower(), one["metadata"]["name"]) for one in documents()}
    if verb == "get":
        label = next((one.partition("=")[2] for one in rest if one.startswith("app.kubernetes.io/")), None)
        return rest[0] in ("pods", "events") and (label is None or label in texts)
    kind, _, name = rest[0].partition("/")
    return verb in ("logs", "describe") and (kind, name or rest[1]) in objects


def documents() -> list[dict[str, Any]]:
    """Return every object of the Kubernetes files, as they are written."""
    found = []
    for path in sorted((DEPLOY / "k8s").rglob("*.yaml")):
        found += [one for one in yaml.safe_load_all(path.read_text()) if one and "metadata" in one]
    return found


def is_route(address: str, settings: Settings) -> bool:
    paths = create_app(settings).openapi()["paths"]
    return address.removeprefix("$BACKLINE_URL") in paths


# Kubernetes

OPTIONAL = ("spotify", "token_key")
"""Secrets of an app at Spotify, which an installation may have."""


@pytest.fixture(scope="module", params=["base", "overlays/dev", "overlays/prod"])
def built(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    """What kustomize makes of the base and of each overlay."""
    done = run(tool("kubectl"), "kustomize", f"deploy/k8s/{request.param}")
    assert done.returncode == 0, done.stderr
    return str(request.param), [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def test_kubernetes_takes_every_object(built: tuple[str, list[dict[str, Any]]]) -> None:
    for one in built[1]:
        if not one["apiVersion"].startswith("keda.sh/"):  # whose schema comes with KEDA
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_no_pod_has_rights_and_each_is_bounded(built: tuple[str, list[dict[str, Any]]]) -> None:
    for name, deployment in of_kind(built[1], "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }, name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name
        assert name == "beat" or "livenessProbe" in container, name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_a_pod_that_works_on_an_import_reaches_its_source_and_has_a_place_to_unpack_it(
    built: tuple[str, list[dict[str, Any]]],
) -> None:
    deployments = of_kind(built[1], "Deployment")
    (chosen,) = of_kind(built[1], "NetworkPolicy")["others"]["spec"]["podSelector"]["matchExpressions"]

    for name in UNPACKING:
        (container,) = deployments[name]["spec"]["template"]["spec"]["containers"]
        mounted = {one["name"]: (one["mountPath"], one.get("readOnly", False)) for one in container["volumeMounts"]}
        assert mounted["music"] == ("/music", True), name
        assert mounted["work"] == ("/var/lib/backline", False), name
    assert set(chosen["values"]) >= set(UNPACKING)


def test_secrets_are_files_of_secrets_and_stand_nowhere(built: tuple[str, list[dict[str, Any]]]) -> None:
    kinds = {one["kind"] for one in built[1]}
    (settings,) = of_kind(built[1], "ConfigMap").values()

    assert "Secret" not in kinds
    known = {f"BACKLINE_{name.upper()}" for name in Settings.model_fields}
    files = {name for name in settings["data"] if name.endswith("_FILE")}
    assert files == {f"{variable_of(name)}_FILE" for name in SECRET_FILES if not name.startswith(OPTIONAL)}
    assert set(settings["data"]) - files <= known
    holders = [
        name
        for name, one in of_kind(built[1], "Deployment").items()
        if any(volume["name"] == "key" for volume in one["spec"]["template"]["spec"]["volumes"])
    ]
    assert holders == ["api"]


def test_each_role_stops_in_time_and_survives_a_drain(built: tuple[str, list[dict[str, Any]]]) -> None:
    deployments = of_kind(built[1], "Deployment")
    workers = {name: one for name, one in deployments.items() if name.startswith("worker-")}

    assert set(of_kind(built[1], "PodDisruptionBudget")) == set(deployments)
    commands = [one["spec"]["template"]["spec"]["containers"][0]["args"] for one in workers.values()]
    served = [queue for command in commands for queue in command[command.index("-Q") + 1].split(",")]
    assert sorted(served) == sorted(Queue)
    for one in workers.values():
        assert one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > WORKER_SECONDS
    assert deployments["beat"]["spec"]["replicas"] == 2
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(built[1], "ScaledObject").values()}
    assert scaled == (set() if built[0].endswith("dev") else set(workers))


def test_pods_are_spread_write_to_memory_and_are_closed_off(built: tuple[str, list[dict[str, Any]]]) -> None:
    for name, deployment in of_kind(built[1], "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        (spread,) = pod["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname", name
        assert spread["matchLabelKeys"] == ["app.kubernetes.io/component"], name
        (tmp,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "tmp")
        assert tmp["medium"] == "Memory", name
        assert "sizeLimit" in tmp, name
    policies = of_kind(built[1], "NetworkPolicy")
    closed = policies.pop("nothing-else")["spec"]
    assert (closed["podSelector"], closed["policyTypes"]) == ({}, ["Ingress", "Egress"])
    assert "ingress" not in closed
    assert "egress" not in closed
    components = {one["metadata"]["name"] for one in built[1] if one["kind"] == "Deployment"}
    for policy in policies.values():
        chosen = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        assert chosen is None or chosen in components


def test_the_front_door_follows_its_load_and_is_reached_under_tls(built: tuple[str, list[dict[str, Any]]]) -> None:
    (scaler,) = of_kind(built[1], "HorizontalPodAutoscaler").values()
    (ingress,) = of_kind(built[1], "Ingress").values()
    (container,) = of_kind(built[1], "Deployment")["api"]["spec"]["template"]["spec"]["containers"]

    assert scaler["spec"]["scaleTargetRef"]["name"] == "api"
    assert "replicas" not in of_kind(built[1], "Deployment")["api"]["spec"]
    assert {"startupProbe", "livenessProbe", "readinessProbe", "lifecycle"} <= container.keys()
    assert built[0].endswith("dev") or ingress["spec"]["tls"]
    backends = {
        path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]
    }
    assert backends <= set(of_kind(built[1], "Service"))


EXPORTED = ("backline_queue_chunks", "backline_queue_age_seconds")


def test_what_is_scaled_on_its_queues_serves_those_queues(built: tuple[str, list[dict[str, Any]]]) -> None:
    deployments = of_kind(built[1], "Deployment")
    state = (ROOT / "api" / "metrics" / "state.py").read_text()
    assert all(f'"{name.removeprefix("backline_")}"' in state for name in EXPORTED)
    for name, one in of_kind(built[1], "ScaledObject").items():
        command = deployments[name]["spec"]["template"]["spec"]["containers"][0]["args"]
        queues = command[command.index("-Q") + 1].replace(",", "|")
        asked = [trigger["metadata"]["query"] for trigger in one["spec"]["triggers"]]
        # On how much waits, and on for how long.
        assert [re.findall(r"backline_[a-z_]+", query) for query in asked] == [[name] for name in EXPORTED]
        assert all(trigger["metadata"]["threshold"] for trigger in one["spec"]["triggers"])
        assert all(f'queue=~"{queues}"' in query for query in asked)
