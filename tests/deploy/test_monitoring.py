"""Every metric and label that the dashboard and the alert rules ask for is one that a running server serves."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.servers import Server, open_server

from watchword import jobs
from watchword.endpoints import metrics
from watchword.store import faults
from watchword.telemetry import counters

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "watchword.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
HOW_TO = (DEPLOY.parent / "docs" / "how-to" / "monitoring.md").read_text()
SELECTED = re.compile(r"\b(watchword_[a-z_]+)\b(?:\{([^}]*)\})?")
OF_THE_SCRAPE = {"job", "instance"}


def queries() -> Iterator[str]:
    """Everything that is asked of Prometheus."""
    for variable in DASHBOARD["templating"]["list"][1:]:
        yield variable["query"]["query"]
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in RULES)


@pytest.fixture(autouse=True)
def only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what this test makes happen is counted."""
    monkeypatch.setattr(counters, "_counts", {})


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with open_server(tmp_path, registration="open") as opened:
        yield opened


async def scrape(server: Server) -> dict[str, dict[str, set[str]]]:
    """The metrics that a server serves once everything that is counted has happened: values by label by name."""
    caller = await server.client(scope="orders:read introspect")
    reader = await server.token(scope="watchword:metrics:read")
    token = (await server.grant(caller)).json()["access_token"]
    assert (await server.post("/introspect", caller, token=token)).json()["active"]
    assert (await server.post("/revoke", caller, token=token)).status_code == 200
    assert (await server.post("/token", caller, grant_type="nonsense")).status_code == 400
    described = {"redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none"}
    assert (await server.http.post("/register", json=described)).status_code == 201
    faults.arm("commit.begun=error")
    assert (await server.http.post("/register", json=described)).status_code == 503
    faults.arm(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.runtime, "keyring", None)
        assert (await server.http.get("/.well-known/jwks.json")).status_code == 500
    for name, _, job in jobs.JOBS:
        await job(server.runtime)
        counters.count("jobs", name, "done")
    headers = {"authorization": f"Bearer {reader.secret}"}
    families = text_string_to_metric_families((await server.http.get("/metrics", headers=headers)).text)
    found: dict[str, dict[str, set[str]]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = found.setdefault(sample.name, {})
        for label, value in sample.labels.items():
            labels.setdefault(label, set()).add(value)
    return found


async def test_every_metric_and_label_that_is_asked_for_is_served(server: Server) -> None:
    served = await scrape(server)
    asked = [selected for query in queries() for selected in SELECTED.findall(query)]
    assert len(asked) > 15
    for name, selector in asked:
        assert name in served, f"{name} is not served"
        labels = set(re.findall(r"([a-z_]+)=~?\"", selector))
        assert labels <= set(served[name]) | OF_THE_SCRAPE, f"{name} has no such label: {selector}"


async def test_every_metric_that_is_served_is_explained(server: Server) -> None:
    served = await scrape(server)
    own = {name for name in served if name.startswith("watchword_") and name.endswith("_total")}
    explained = set(re.findall(r"`(watchword_[a-z_]+_total)`", HOW_TO.partition("## ")[0]))
    assert own <= explained


def test_what_is_explained_is_counted_somewhere_and_what_is_counted_is_explained() -> None:
    code = "\n".join(path.read_text() for path in (DEPLOY.parent / "src" / "watchword").rglob("*.py"))
    counted = set(re.findall(r"(?<![.\w])count\(\s*\"([a-z_]+)\"|_counts\[\"([a-z_]+)\"", code))
    names = {f"watchword_{one or other}_total" for one, other in counted}
    assert names == set(re.findall(r"`(watchword_[a-z_]+_total)`", HOW_TO.partition("## ")[0]))
    assert names == {f"watchword_{name}_total" for name in metrics.COUNTERS}


def test_jobs_that_are_asked_for_are_jobs() -> None:
    named = {name for query in queries() for name in re.findall(r'jobs_total\{operation="(\w+)"', query)}
    assert named
    assert named <= {job[0] for job in jobs.JOBS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/how-to/monitoring.md"
    assert anchor == str(rule["alert"]).lower()
    assert f"## {rule['alert']}\n" in HOW_TO


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_sees_the_first_time_and_the_lack_of_a_counter(rule: dict[str, str]) -> None:
    # A counter that has never counted is not there: its first value is no increase, and nothing is not equal to 0.
    for name, window in re.findall(r"increase\((\w+)\[(\w+)\]\)\) > 0", rule["expr"]):
        assert f"{name} unless {name} offset {window}" in rule["expr"]
    if rule["expr"].endswith("== 0") and "increase" in rule["expr"]:
        assert "or vector(0)) == 0" in rule["expr"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_the_alerts_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", Path(__file__).with_name("alerts.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_rate_errors_and_duration_of_requests() -> None:
    asked = "\n".join(queries())
    for suffix in ("count", "bucket"):
        assert f"watchword_request_duration_seconds_{suffix}" in asked


def test_a_number_on_the_dashboard_counts_the_first_time_too() -> None:
    # A counter that has just appeared has not increased: the first request that failed would be shown as none.
    asked = [query for query in queries() if "[$__range]" in query]
    assert len(asked) == 3
    for query in asked:
        selected = re.findall(r"increase\((\w+\{.*?\})\[\$__range\]", query)
        assert (
            query
            == f"sum(({selected[0]} unless {selected[0]} offset $__range) or increase({selected[0]}[$__range])) or vector(0)"
        )


def test_the_dashboard_can_be_imported_anywhere() -> None:
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    sources = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert sources == {"${source}"}, "no data source of ours is baked in"
