"""Do the container files agree with what they start?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyrelay.settings import Settings
from skyrelay.stages import STAGES
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS

ROOT = Path(__file__).parents[2]
#: What must be filled in.
SECRETS = (
    "SECRET_KEY",
    "POSTGRES_PASSWORD",
    "RABBITMQ_PASSWORD",
    "RABBITMQ_GATEWAY_PASSWORD",
    "RABBITMQ_STAGE_PASSWORD",
)
#: Settings that the Compose file and the images decide by themselves.
DECIDED = {"TASKS_PATH", "DATA_PATH", "SKYRELAY_HEALTH_PORT", "SKYRELAY_HEALTH_HOST"}
#: Variables of the libraries', which they read themselves.
FOREIGN = re.compile("(AWS|OTEL)_[A-Z_]+|https?_proxy|no_proxy")
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return content


def locked(name: str) -> dict[str, str]:
    content = (ROOT / "requirements" / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", content, re.MULTILINE))


def test_the_compose_file_follows_its_specification() -> None:
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    assert checker is not None, "`make setup-dev` brings it"
    answer = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_stage_service_is_in_the_compose_file(services: dict[str, Any]) -> None:
    for service in {stage.service for stage in STAGES}:
        assert services[service]["command"][-1] == f"services.{service}.service"
        assert "tasks:/srv/skyrelay/tasks" in services[service]["volumes"]


def test_each_image_of_ours_is_built_by_one_service_and_sought_nowhere_else(
    services: dict[str, Any],
) -> None:
    """Builds at once under one name fail where Docker keeps its images with containerd."""
    ours = [service for service in services.values() if service["image"].startswith("skyrelay-")]
    built = [service["image"] for service in ours if "build" in service]
    assert sorted(built) == sorted({service["image"] for service in ours})
    assert {service["pull_policy"] for service in ours} == {"never"}


def test_the_stand_ins_have_the_names_of_the_images_of_others(services: dict[str, Any]) -> None:
    script = (ROOT / "scripts/podman-try").read_text()
    stand_ins = set(re.findall(r"^    build (\S+) \$stand_ins/", script, re.MULTILINE))
    others = {each["image"] for each in services.values() if "skyrelay-" not in each["image"]}
    (grafana,) = others - stand_ins
    assert grafana.startswith("grafana/") and stand_ins < others


def test_no_log_fills_the_disk(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_a_stage_service_can_be_scaled(services: dict[str, Any]) -> None:
    for stage in STAGES:
        assert not {"container_name", "hostname", "ports"} & services[stage.service].keys()


def test_ports_are_open_to_this_machine_only_unless_asked_for(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert port.startswith(("127.0.0.1:", "${SKYRELAY_ADDRESS:-127.0.0.1}:"))


def test_no_secret_stands_in_the_compose_file() -> None:
    content = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    for name in SECRETS:
        assert f"${{{name}:?" in content
        assert f"\n{name}=\n" in example


@pytest.mark.parametrize("page", ["README.md", "docs/operations/compose.md"])
def test_the_manuals_fill_in_every_secret(page: str, tmp_path: Path) -> None:
    (loop,) = re.findall(
        r"^    for name in SECRET_KEY.*?^    done$", (ROOT / page).read_text(), re.M | re.S
    )
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    subprocess.run(["sh", "-euc", loop], cwd=tmp_path, check=True)
    filled = re.findall(r"^([A-Z_]+)=[0-9a-f]{48}$", (tmp_path / ".env").read_text(), re.M)
    assert sorted(filled) == sorted(SECRETS)


def test_every_setting_of_the_compose_file_is_in_the_example() -> None:
    content = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    for name in set(re.findall(r"\$\{(\w+)", content)):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name


def test_a_stage_is_given_time_to_drain_before_it_is_killed(services: dict[str, Any]) -> None:
    for stage in STAGES:
        service = services[stage.service]
        drain = re.search(r":-(\d+)", service["environment"]["SKYRELAY_DRAIN_GRACE"])
        stop = re.search(r":-(\d+)s", service["stop_grace_period"])
        assert drain and stop and int(stop[1]) > int(drain[1])


def environments(services: dict[str, Any]) -> dict[str, set[str]]:
    """What each process of ours is told, by the name of its service."""
    return {
        name: set(service["environment"])
        for name, service in services.items()
        if service["image"].startswith("skyrelay-") and name != "broker-users"
    }


def test_the_compose_file_sets_only_settings_that_exist(services: dict[str, Any]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name, told in environments(services).items():
        assert {each for each in told if not FOREIGN.fullmatch(each)} <= known, name


def test_events_of_stages_of_ones_own_are_among_the_rights(services: dict[str, Any]) -> None:
    assert "SKYRELAY_EXTRA_STAGES" in services["broker-users"]["environment"]


def test_every_setting_reaches_the_processes_that_read_it(services: dict[str, Any]) -> None:
    told = environments(services)
    known = {name.upper() for name in Settings.model_fields} - DECIDED
    gateway, stages = told.pop("gateway-web"), told.pop("photometry")
    assert known <= gateway | stages
    for name in told:
        assert told[name] == (gateway if name in ("gateway-events", "migrate") else stages), name
    # What the library reads is for both, unless only one of them uses that part of it.
    for setting in known - gateway:
        assert not _named_in("gateway", setting.lower()), setting
    for setting in known - stages - {"AMQP_URI", "SKYRELAY_RETRY_DELAYS"}:
        for folder in ("skyrelay/stage", "skyrelay/sky", "skyrelay/store", "services"):
            assert not _named_in(folder, setting.lower()), (folder, setting)


def test_variables_of_libraries_that_the_manuals_name_are_handed_on(
    services: dict[str, Any],
) -> None:
    named = set()
    for page in (ROOT / "docs/operations").glob("*.md"):
        named |= set(
            re.findall(r"`((?:AWS|OTEL)_[A-Z_]+|https?_proxy|no_proxy)`", page.read_text())
        )
    assert {"AWS_CA_BUNDLE", "OTEL_EXPORTER_OTLP_HEADERS", "https_proxy"} <= named
    for name, told in environments(services).items():
        assert named <= told, name


def test_stages_get_no_secret_of_the_gateway_and_nobody_that_of_the_administrator(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        values = "".join(str(value) for value in service.get("environment", {}).values())
        found = {secret for secret in SECRETS if f"${{{secret}:?" in values}
        if name in {stage.service for stage in STAGES}:
            assert found == {"RABBITMQ_STAGE_PASSWORD"}, name
            # They find the queues made.
            assert service["environment"]["SKYRELAY_DECLARE_TOPOLOGY"] == "false"
            told = set(service["environment"])
            assert not {each for each in told if re.search("OIDC|SKYPORTAL|ADMIN|SECRET_KEY", each)}
        if name.startswith("gateway-"):
            assert found == {"SECRET_KEY", "POSTGRES_PASSWORD", "RABBITMQ_GATEWAY_PASSWORD"}
    administrators = {name for name, each in services.items() if "RABBITMQ_PASSWORD:?" in str(each)}
    assert administrators == {"broker", "broker-users"}


def test_every_container_is_kept_from_what_it_does_not_need(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def _named_in(folder: str, setting: str) -> bool:
    word = re.compile(rf"\b{setting}\b")
    return any(word.search(file.read_text()) for file in (ROOT / folder).rglob("*.py"))


def test_the_broker_of_the_compose_file_waits_as_long_as_our_own() -> None:
    content = (ROOT / "deploy/docker/rabbitmq.conf").read_text()
    assert f"\nconsumer_timeout = {CONSUMER_TIMEOUT_MS}\n" in content


def test_the_science_image_has_every_program_that_the_stages_need() -> None:
    lines = (ROOT / "requirements/debian.txt").read_text().splitlines()
    rows = [line.split("|") for line in lines if "|" in line and not line.startswith("#")]
    needed = {row[0].strip() for row in rows if row[1].strip() == "run"} - {"rabbitmq-server"}
    assert needed
    science = DOCKERFILE.partition("AS science\n")[2]
    assert needed <= set(science.split())


def test_the_gateway_image_has_the_versions_of_all_others() -> None:
    assert locked("gateway").items() <= locked("runtime").items()


def test_the_gateway_image_has_all_that_the_gateway_imports() -> None:
    """Said in gateway.in, so that it does not hang on what something else happens to need."""
    content = (ROOT / "requirements/gateway.in").read_text()
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    # A module has the name of its distribution, or the first part of it.
    named = {re.split(r"\W", line)[0] for line in lines} | {"skyrelay", "gateway"}
    named |= {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}
    # Pillow is imported by the name of what it succeeds.
    named |= {"PIL"} if "pillow" in named else set()
    for file in (ROOT / "gateway").rglob("*.py"):
        imported = re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(), re.MULTILINE)
        assert set(imported) - sys.stdlib_module_names <= named, file


def test_everything_that_is_copied_into_an_image_is_in_the_context() -> None:
    context = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists()
        wanted = source if not source.endswith(".lock") else "requirements/*.lock"
        assert f"!{wanted}" in context, source


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("URIs: http://deb.debian.org/debian", "URIs: {}/debian/20260101T000000Z"),
        (
            "URIs: http://deb.debian.org/debian-security",
            "URIs: {}/debian-security/20260101T000000Z",
        ),
        (
            "deb http://deb.debian.org/debian bookworm main",
            "deb {}/debian/20260101T000000Z bookworm main",
        ),
        (
            "deb http://security.debian.org/debian-security bookworm-security main",
            "deb {}/debian-security/20260101T000000Z bookworm-security main",
        ),
    ],
)
def test_packages_can_be_taken_as_they_were_at_a_moment(
    tmp_path: Path, before: str, after: str
) -> None:
    (tmp_path / "apt.conf.d").mkdir()
    sources = tmp_path / ("debian.sources" if before.startswith("URIs") else "sources.list")
    sources.write_text(f"{before}\n")
    script = ROOT / "deploy/docker/use-snapshot"
    subprocess.run([script, "", tmp_path], check=True)
    assert sources.read_text() == f"{before}\n"
    subprocess.run([script, "20260101T000000Z", tmp_path], check=True)
    assert sources.read_text() == f"{after}\n".format("http://snapshot.debian.org/archive")


def test_nothing_is_built_by_packages_that_are_not_locked() -> None:
    text = (ROOT / "deploy/docker/install-packages").read_text()
    assert "--require-hashes" in text and "--no-build-isolation" in text
    assert "setuptools" in locked("runtime")


def test_no_image_runs_as_root() -> None:
    for target in ("gateway", "science"):
        stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
        assert "USER 10001:10001" in stage
        assert "HEALTHCHECK" in stage


@pytest.mark.parametrize(
    "path", sorted((ROOT / "deploy/docker").rglob("*ockerfile")), ids=lambda path: path.name
)
def test_the_container_files_have_none_of_the_usual_mistakes(path: Path) -> None:
    checker = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert checker is not None
    # DL3008: Debian keeps only the newest version of a package of a stable release.
    answer = subprocess.run(
        [checker, "--failure-threshold", "warning", "--ignore", "DL3008", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
