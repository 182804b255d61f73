"""The image and the compose file, read with care: no Docker engine is needed for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from web.settings import CORS_ALIAS, FILE_SUFFIX, SECRETS, VARIABLES, Settings

ROOT: Final = Path(__file__).resolve().parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SYNC: Final[dict[str, Any]] = COMPOSE["services"]["sync"]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_compose_file_passes_on_the_variables_that_the_server_reads_and_no_others() -> None:
    in_files = {name + FILE_SUFFIX for name in SECRETS}

    # DATA_DIR is not passed on: the volume is where the image says.
    assert set(SYNC["environment"]) == (VARIABLES | in_files | {CORS_ALIAS}) - {"DATA_DIR"}


def test_the_defaults_of_the_compose_file_are_good_settings() -> None:
    given = {name: str(value) for name, value in SYNC["environment"].items() if value is not None}
    defaults = {name: re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", value) for name, value in given.items()}

    settings = Settings.from_env(defaults)

    assert settings.port == 4000
    assert settings.redis_url is not None


def test_the_grace_period_is_longer_than_the_drain() -> None:
    grace_s = float(SYNC["stop_grace_period"].removesuffix("s"))

    assert grace_s >= Settings.from_env({}).drain_seconds + 10


def test_the_server_waits_for_a_healthy_redis_and_is_restarted() -> None:
    assert SYNC["depends_on"]["redis"]["condition"] == "service_healthy"
    assert COMPOSE["services"]["redis"]["healthcheck"]["test"][-1] == "ping"
    assert SYNC["restart"] == "unless-stopped"
    assert SYNC["ports"] == ["${PUBLISHED_PORT:-4000}:4000"]


NODES: Final = ("node-1", "node-2", "node-3")


@pytest.mark.parametrize("name", NODES)
def test_a_node_of_three_is_the_one_with_a_name_a_volume_and_shared_rooms(name: str) -> None:
    node = COMPOSE["services"][name]
    differs = {key for key in node if node[key] != SYNC.get(key)}
    changed = {key for key, value in node["environment"].items() if value != SYNC["environment"][key]}

    assert differs == {"profiles", "ports", "environment", "volumes"}
    assert changed == {"NODE_NAME", "ROOM_STORE", "TRUSTED_PROXIES"}
    assert (node["environment"]["NODE_NAME"], node["environment"]["ROOM_STORE"]) == (name, "redis")
    assert node["profiles"] == COMPOSE["services"]["nginx"]["profiles"]
    assert node["volumes"] == [f"{name}-data:/var/lib/greenroom"]
    assert f"{name}-data" in COMPOSE["volumes"]
    assert f"server {name}:4000 " in (ROOT / "config" / "nginx-nodes.conf").read_text(encoding="utf-8")


def test_nginx_waits_for_all_nodes_and_has_their_configuration() -> None:
    nginx = COMPOSE["services"]["nginx"]

    assert set(nginx["depends_on"]) == set(NODES)
    assert nginx["volumes"] == ["./config/nginx-nodes.conf:/etc/nginx/conf.d/default.conf:ro"]
    assert nginx["ports"] == ["${PUBLISHED_PORT:-4000}:8080"]


def test_no_secret_has_a_value_in_the_compose_file() -> None:
    secrets = {name for name in SYNC["environment"] if re.search(r"KEY|SECRET|TOKEN", name)}

    assert secrets
    assert {name: SYNC["environment"][name] for name in secrets} == dict.fromkeys(secrets)


def test_the_image_has_two_stages_and_ends_as_nobody_special() -> None:
    assert len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)) == 2
    last_stage = DOCKERFILE.rsplit("FROM ", 1)[1]
    for line in ("USER 10001:10001", "EXPOSE 4000", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["greenroom"]'):
        assert f"\n{line}\n" in last_stage
    assert "/healthz" in last_stage.split("HEALTHCHECK")[1]


def test_the_health_check_of_the_image_is_good_python() -> None:
    program = re.search(r'CMD \["python", "-c", "(.+)"\]', DOCKERFILE)

    assert program is not None
    compile(program[1], "HEALTHCHECK", "exec")


def test_everything_the_image_copies_is_let_through() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copies = [
        line.split()[1:-1]
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]

    assert {name for names in copies for name in names} == allowed
    assert all((ROOT / name).exists() for name in allowed)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_yaml_with_bounded_jobs_and_few_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert workflow["permissions"]["contents"] == "read"
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_images_are_tagged_by_commit_branch_and_version() -> None:
    text = (ROOT / ".github" / "workflows" / "image.yml").read_text(encoding="utf-8")

    assert "type=sha,prefix=sha-,format=short" in text
    assert "type=raw,value=latest,enable={{is_default_branch}}" in text
    assert "type=semver,pattern=v{{version}}" in text
    assert "cache-to: type=gha,mode=max" in text
