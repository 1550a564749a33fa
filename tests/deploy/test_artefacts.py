"""The systemd unit, the container file and the Helm chart: what they promise, read from what they say.

Where `systemd-analyze` and `helm` are installed they judge as well; nothing here needs a container engine or a cluster.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from watchword.settings import Settings

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "watchword.service"
IMAGE = ROOT / "deploy" / "container" / "Containerfile"
CHART = ROOT / "deploy" / "helm" / "watchword"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
GIVEN = {"issuer": "https://auth.example.com", "existingSecret": "watchword"}


def unit_options() -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            options.setdefault(name, []).append(value)
    return options


def test_the_unit_keeps_the_service_to_itself() -> None:
    options = unit_options()
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectHome", "DynamicUser",
                 "ProtectKernelModules", "MemoryDenyWriteExecute", "RestrictNamespaces", "LockPersonality"):  # fmt: skip
        assert options[name] == ["yes"], name
    assert options["ProtectSystem"] == ["strict"]
    assert options["CapabilityBoundingSet"] == [""]
    assert options["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]


def test_the_unit_hands_the_master_key_over_as_a_credential_and_in_no_variable() -> None:
    options = unit_options()
    assert options["LoadCredential"] == ["master-key:/etc/watchword/master-key"]
    assert options["Environment"] == ["WATCHWORD_KEY_FILE=%d/master-key"]
    assert "key_file" in Settings.__struct_fields__


def test_the_unit_starts_again_while_a_database_is_away_and_not_with_wrong_options() -> None:
    options = unit_options()
    assert options["Restart"] == ["on-failure"]
    assert options["StartLimitIntervalSec"] == ["0"], "five attempts take ten seconds"
    assert options["RestartPreventExitStatus"] == ["2"], "what `serve` exits with for wrong usage"


def test_a_command_beside_the_unit_names_the_place_of_the_key_in_full() -> None:
    guide = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
    command = re.search(r"^systemd-run .*?watchword token list.*?$", guide, re.DOTALL | re.MULTILINE)
    assert command
    given = shlex.split(command[0])
    assert "%" not in command[0], "systemd expands specifiers in unit files alone"
    unit = next(one.removeprefix("--unit=") for one in given if one.startswith("--unit="))
    assert f"WATCHWORD_KEY_FILE=/run/credentials/{unit}.service/master-key" in given
    assert f"LoadCredential={unit_options()['LoadCredential'][0]}" in given


def test_the_address_of_the_database_comes_from_a_file_that_systemd_takes_as_it_is() -> None:
    """In `Environment=` a `%` begins a specifier, and a line with one that is unknown, such as `%40`, is ignored."""
    guide = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
    assert "Environment=WATCHWORD_DATABASE" not in guide
    assert guide.count("EnvironmentFile=/etc/watchword/environment") == 2, "for the service and for commands"


def test_systemd_finds_little_to_attack() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    command = [program, "security", "--offline=yes", "--threshold=20", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "Unknown option" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def instructions() -> list[tuple[str, str]]:
    """The instructions of the container file, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", IMAGE.read_text(), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def test_the_image_is_made_in_stages_and_the_last_is_nobodys() -> None:
    found = instructions()
    starts = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    assert len(starts) == 2
    last = found[starts[-1] :]
    users = [value for name, value in last if name == "USER"]
    assert users == ["10001:10001"]
    commands = " ".join(value for name, value in last if name == "RUN")
    assert not re.search(r"\b(install|apt|apt-get|curl)\b", commands)
    assert "pip uninstall" in commands, "what installs packages is of no use to a server"
    assert [name for name, _ in last].index("USER") < [name for name, _ in last].index("ENTRYPOINT")
    assert {"HEALTHCHECK", "VOLUME", "EXPOSE", "STOPSIGNAL"} <= {name for name, _ in last}


def test_the_image_holds_no_secret_and_installs_only_what_is_locked() -> None:
    for name, value in instructions():
        if name in ("ENV", "ARG", "LABEL"):
            assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN", value), value
        if name == "RUN" and "-r requirements" in value:
            assert value.count("--require-hashes") == value.count("-r requirements")
    ignored = (IMAGE.with_name("Containerfile.dockerignore")).read_text().split()
    assert ignored[ignored.index("*") :][0] == "*", "only what is named goes to the builder"


def test_a_secret_that_the_engine_mounts_is_a_key_from_outside() -> None:
    given = " ".join(value for name, value in instructions() if name == "ENV")
    folder = re.search(r"CREDENTIALS_DIRECTORY=(\S+)", given)
    assert folder
    guide = (ROOT / "docs" / "how-to" / "container.md").read_text()
    assert f"WATCHWORD_KEY_FILE={folder[1]}/watchword-master-key" in guide
    assert "--secret watchword-master-key,uid=10001,mode=0400" in guide
    assert "target=WATCHWORD_MASTER_KEY" not in guide, "variables are shown by `podman inspect`"


def test_the_guide_builds_an_image_that_has_its_health_check() -> None:
    for path in (IMAGE, ROOT / "docs" / "how-to" / "container.md"):
        for command in re.findall(r"podman build .*", path.read_text()):
            assert "--format docker" in command, "Podman's own format has none"


def test_what_the_image_copies_is_there() -> None:
    ignored = IMAGE.with_name("Containerfile.dockerignore").read_text().split()
    for name, value in instructions():
        if name == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.split('/')[0]}" in ignored, f"{source} does not reach the builder"


def test_the_image_asks_its_own_health_where_the_server_answers() -> None:
    checks = [value for name, value in instructions() if name == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "/readyz" in checks[0]
    program = json.loads(checks[0].partition("CMD ")[2])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "healthcheck", "exec")


def test_the_chart_checks_its_values() -> None:
    check = jsonschema.Draft7Validator(SCHEMA)
    check.check_schema(SCHEMA)
    check.validate(VALUES | GIVEN)
    for wrong in (
        {},
        GIVEN | {"issuer": "http://auth.example.com"},
        GIVEN | {"issuer": "https://auth.example.com/"},
        GIVEN | {"existingSecret": ""},
        GIVEN | {"masterKey": "in the values"},
        GIVEN | {"ingress": {"enabled": True, "tlsSecret": ""}},
    ):
        assert not check.is_valid(VALUES | wrong), wrong


def test_a_section_that_is_taken_away_is_missed_by_name() -> None:
    """Helm takes a section set to null out of the values, and a template would only speak of a nil pointer."""
    sections = {path for _, text in templates() for path in re.findall(r"\.Values\.([\w.]+)\.\w+", text)} | {
        "image"
    }
    assert {"image", "ingress", "networkPolicy.database"} <= sections
    for section in sections:
        *above, name = section.split(".")
        without = deepcopy(VALUES | GIVEN)
        inside = without[above[0]] if above else without
        del inside[name]
        (missed,) = jsonschema.Draft7Validator(SCHEMA).iter_errors(without)
        assert missed.message == f"'{name}' is a required property"


def schema_types(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in schema.get("properties", {}).items():
        yield f"{path}{name}", "enum" if "enum" in value else value["type"]
        yield from schema_types(value, f"{path}{name}.")


def templates() -> Iterator[tuple[str, str]]:
    for path in sorted((CHART / "templates").iterdir()):
        yield path.name, path.read_text()


def test_every_value_that_a_template_uses_is_there_and_every_value_is_used() -> None:
    used = {
        tuple(path.split(".")) for _, text in templates() for path in re.findall(r"\.Values\.([\w.]+)", text)
    }
    used |= {("image", name) for name in ("repository", "tag", "digest")}  # within a `with`
    for path in used:
        known: Any = VALUES
        for part in path:
            assert part in known, ".".join(path)
            known = known[part]
    for name in VALUES:
        assert any(path[0] == name for path in used), f"{name} is used by no template"
        assert name in SCHEMA["properties"], name


def test_the_chart_keeps_secrets_in_the_secret_that_exists() -> None:
    text = "\n".join(text for _, text in templates())
    assert "kind: Secret" not in text
    for variable in ("WATCHWORD_MASTER_KEY", "WATCHWORD_DATABASE"):
        assert re.search(rf"name: {variable}\n\s+valueFrom:\n\s+secretKeyRef:", text), variable


def test_a_name_that_looks_like_a_number_or_a_truth_value_stays_a_name() -> None:
    """A release may be called 2024 and a secret `on`; Kubernetes refuses what YAML then takes for a number or a truth value."""
    bare = {
        path
        for name, text in templates()
        if name != "NOTES.txt"
        for path in re.findall(r": \{\{ (\S+) \}\}$", text, re.MULTILINE)
    }
    plain = {
        f".Values.{path}"
        for path, kind in schema_types(SCHEMA)
        if kind in ("integer", ["integer", "string"], "enum")
    }
    assert bare <= plain | {".Chart.Name", ".Release.Service"}


def test_the_notes_find_the_link_that_still_works_among_those_of_all_nodes() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    [command] = [line.strip() for line in notes.splitlines() if line.strip().startswith("kubectl")]
    assert "--tail=-1" in command, "with a selector kubectl shows ten lines of each pod"
    assert "--timestamps" in command
    assert command.endswith("| grep /setup | sort | tail -n 1"), "each link ends the one before it"


def test_the_monitor_names_the_job_that_the_alerts_ask_for() -> None:
    """Prometheus Operator names a job after the service, which has the release's name, unless a label is named."""
    label = re.search(r"^  jobLabel: (\S+)$", dict(templates())["servicemonitor.yaml"], re.MULTILINE)
    assert label
    names = dict(templates())["_names.tpl"].partition("{{- end }}\n\n{{- define")[2]
    assert f"{label[1]}: {{{{ .Chart.Name }}}}\n" in names
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())["name"]
    asked = set(re.findall(r'job="(\w+)"', (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()))
    assert asked == {chart}


def test_the_guide_mounts_what_the_address_of_the_database_names() -> None:
    guide = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
    named = re.search(r"sslmode=verify-full&sslrootcert=([^'&]+)'", guide)
    assert named, "verify-full reads no authorities of the system's"
    assert f"'extraVolumeMounts[0].mountPath={Path(named[1]).parent}'" in guide
    for name in ("deployment.yaml", "migration.yaml"):
        assert {".Values.extraVolumes", ".Values.extraVolumeMounts"} <= set(
            re.findall(r"\.Values\.\w+", dict(templates())[name])
        )


def test_the_job_has_the_options_of_the_nodes_before_they_have_them() -> None:
    """`smtp_url` in a variable is refused where `mail_from` is in the file and the file is not there."""
    options, job = dict(templates())["migration.yaml"].split("\n---\n")
    assert "kind: ConfigMap" in options
    assert 'helm.sh/hook-weight: "-1"' in options, "before the job, which has none"
    assert "helm.sh/hook-weight" not in job
    hook = re.compile(r"helm.sh/hook(?:-delete-policy)?: .*")
    assert hook.findall(options) == hook.findall(job)
    name = re.findall(r"\bname: (.*-migrate)$", options, re.MULTILINE)
    assert re.findall(r"configMap:\n\s+name: (.*)", job) == name
    for text in (job, dict(templates())["deployment.yaml"]):
        assert "name: WATCHWORD_CONFIG\n              value: /etc/watchword/watchword.toml" in text
        assert "name: config\n              mountPath: /etc/watchword" in text
    for text in (options, dict(templates())["configmap.yaml"]):
        assert 'watchword.toml: |\n    {{- include "watchword.options" . | nindent 4 }}' in text


def render(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return what the chart makes of values, by kind."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not installed")
    given = [part for name, value in (GIVEN | values).items() for part in ("--set", f"{name}={value}")]
    command = [helm, "template", "auth", str(CHART), "--kube-version", "1.31.0", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    """What the chart makes of everything switched on, by kind."""
    more = {
        **{f"ingress.{name}": value for name, value in (("enabled", "true"), ("tlsSecret", "tls"))},
        "serviceMonitor.enabled": "true",
        "serviceMonitor.tokenSecret": "metrics",
        "trustedProxies": "{10.0.0.0/8}",
        "extraVolumes[0].name": "ca",
        "extraVolumes[0].configMap.name": "ca",
        "extraVolumeMounts[0].name": "ca",
        "extraVolumeMounts[0].mountPath": "/etc/ca",
    }
    return render(more)


@pytest.mark.parametrize(
    ("issuer", "host"),
    [
        ("https://auth.example.com:8443/x", "auth.example.com"),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::1]", None),
    ],
)
def test_an_ingress_has_a_host_where_the_issuer_has_a_name(issuer: str, host: str | None) -> None:
    """Kubernetes refuses an IP address."""
    values = {"issuer": issuer, "ingress.enabled": "true", "ingress.tlsSecret": "tls"}
    spec = render(values)["Ingress"]["spec"]
    assert spec["tls"] == [{"secretName": "tls"} | ({"hosts": [host]} if host else {})]
    (rule,) = spec["rules"]
    assert rule.get("host") == host
    assert rule["http"]["paths"][0]["path"] == "/"


def test_the_rendered_chart_is_whole(rendered: dict[str, dict[str, Any]]) -> None:
    assert set(rendered) == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "PodDisruptionBudget",
        "Service", "ServiceMonitor",
    }  # fmt: skip
    selector = rendered["Deployment"]["spec"]["selector"]["matchLabels"]
    assert rendered["Service"]["spec"]["selector"] == selector
    assert rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == selector
    labels = rendered["Job"]["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= labels.items(), "the job gets no requests"


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_rendered_pods_may_do_nothing_beyond_serving(rendered: dict[str, dict[str, Any]], kind: str) -> None:
    pod = rendered[kind]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"name": "ca", "configMap": {"name": "ca"}} in pod["volumes"]
    assert {"name": "ca", "mountPath": "/etc/ca"} in pod["containers"][0]["volumeMounts"]
    for container in pod["containers"]:
        held = container["securityContext"]
        assert held["readOnlyRootFilesystem"] is True
        assert held["allowPrivilegeEscalation"] is False
        assert held["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_the_rendered_configuration_is_one_that_the_server_takes(rendered: dict[str, dict[str, Any]]) -> None:
    import tomllib

    options = tomllib.loads(rendered["ConfigMap"]["data"]["watchword.toml"])
    assert Settings(**options | {"trusted_proxies": tuple(options["trusted_proxies"])}).behind_tls_proxy
    container = rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    known = {f"WATCHWORD_{name.upper()}" for name in Settings.__struct_fields__}
    assert {variable["name"] for variable in container["env"]} <= known | {
        "WATCHWORD_CONFIG",
        "WATCHWORD_MASTER_KEY",
    }
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
