"""The environment is read once, and a bad value is named in one line."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from actors.players.tables import SERVER_ID_CHARACTERS
from web.check_config import report
from web.handlers.stats_body import TEXTS
from web.settings import Settings, SettingsError

SECRETS = {
    "ADMIN_TOKEN": "s3cret-admin",
    "METRICS_TOKEN": "s3cret-metrics",
    "JWT_SECRET": "s3cret-jwt-1,s3cret-jwt-2",
    "INTERNAL_API_KEY": "s3cret-internal",
    "GAME_SERVER_TOKENS": "srv7:s3cret-game",
    "INBOUND_API_KEYS": "s3cret-inbound",
    "ROBLOX_OPEN_CLOUD_API_KEY": "s3cret-roblox",
    "REDIS_URL": "redis://user:s3cret-redis@localhost/0",
    "DATABASE_URL": "postgresql+psycopg://user:s3cret-db@localhost/db",
}


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({})

    assert settings.port == 4000
    assert settings.host == "0.0.0.0"
    assert settings.max_state_bytes == 32768
    assert settings.room_ttl_seconds == 86400
    assert settings.heartbeat_seconds == 15
    assert settings.stream_stall_seconds == 60
    assert settings.drain_seconds == 10
    assert settings.max_streams == settings.streams_per_room == 20000
    assert settings.max_rooms == 200000
    assert settings.max_total_state_bytes == 1 << 30
    assert settings.stat_names == ("exp", "cash", "pills")
    assert settings.non_negative_stats == ("cash", "pills")
    assert settings.transaction_ttl_seconds == 7 * 86400
    assert settings.fastlane
    assert not settings.matches_enabled


def test_an_empty_value_counts_as_absent() -> None:
    assert Settings.from_env({"PORT": "", "ADMIN_TOKEN": " "}) == Settings.from_env({})


def test_unknown_variables_are_none_of_our_business() -> None:
    assert Settings.from_env({"PATH": "/bin", "PORTS": "x"}) == Settings.from_env({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("MAX_STATE_BYTES", "0"),
        ("MAX_STREAMS", "1.5"),
        ("HEARTBEAT_SECONDS", "0"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("STREAM_STALL_SECONDS", "inf"),
        ("ROOM_TTL_SECONDS", "a day"),
        ("DRAIN_SECONDS", "-1"),
        ("CORS_ORIGINS", "https://a.example/"),
        ("CORS_ORIGINS", "a.example"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("FASTLANE", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("REDIS_URL", "http://localhost"),
        ("DATABASE_URL", "mysql://localhost"),
        ("API_BASE_URL", "api-server:3001"),
        ("API_BASE_URL", "http://api:abc"),
        ("API_BASE_URL", "http://api:70000/internal"),
        ("API_BASE_URL", "http://a b/"),
        ("API_BASE_URL", "http://api/internal?q=1"),
        ("INTERNAL_API_KEY", "k\u00e9y"),
        ("INTERNAL_API_KEY", "a\nb"),
        ("REDIS_URL", "redis://h:abc"),
        ("REDIS_URL", "redis://h:99999"),
        ("REDIS_URL", "redis://h/notanumber"),
        ("REDIS_URL", "unix://"),
        ("DATABASE_URL", "postgresql://u:topsecret@h:abc/db"),
        ("GAME_SERVER_TOKENS", ":"),
        ("GAME_SERVER_TOKENS", "good,srv7:"),
        ("GAME_SERVER_TOKENS", "n" * (SERVER_ID_CHARACTERS + 1) + ":hush"),
        ("AUTH_VERIFY", "never"),
        ("ROOM_QUEUE_DELIVERY", "exactly_once"),
        ("STATS_READ", "private"),
        ("STAT_NAMES", "exp,C-4"),
        ("STAT_NAMES", "exp,deltas"),
        ("STAT_NAMES", "steamid"),
        *[("STAT_NAMES", field) for field in TEXTS],
        ("TRANSACTION_TTL_SECONDS", "0.1"),
        ("ROBLOX_GROUP_ID", "group"),
        ("ROBLOX_OPEN_CLOUD_API_KEY", "schl\u00fcssel"),
        ("ROBLOX_OPEN_CLOUD_API_KEY", "a\nb"),
        ("ROBLOX_OPEN_CLOUD_API_KEY", "a b"),
        ("ROBLOX_OPEN_CLOUD_API_KEY", "a\0"),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line_naming_the_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: value})

    assert caught.value.variable == variable
    assert str(caught.value).startswith(f"{variable}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"TLS_CERT_FILE": "cert.pem"}, "TLS_KEY_FILE"),
        ({"TLS_KEY_FILE": "key.pem"}, "TLS_CERT_FILE"),
        ({"AUTH_VERIFY": "remote"}, "API_BASE_URL"),
        ({"NON_NEGATIVE_STATS": "gold"}, "NON_NEGATIVE_STATS"),
    ],
)
def test_what_makes_no_sense_together_is_named_too(env: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)

    assert caught.value.variable == variable


def test_a_game_server_may_have_the_longest_name_the_ledger_takes() -> None:
    entries = ["n" * SERVER_ID_CHARACTERS + ":hush", "a-token-without-a-name-may-be-longer" * 9]

    settings = Settings.from_env({"GAME_SERVER_TOKENS": ",".join(entries)})

    assert [secret.get_secret_value() for secret in settings.game_server_tokens] == entries


def test_lists_are_comma_separated_and_may_have_spaces() -> None:
    settings = Settings.from_env(
        {
            "CORS_ORIGINS": "https://a.example, http://localhost:3000,",
            "TRUSTED_PROXIES": "10.1.2.3/8,::1",
            "JWT_SECRET": "new, old",
        }
    )

    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert [secret.get_secret_value() for secret in settings.jwt_secret] == ["new", "old"]


def test_space_around_a_key_is_no_part_of_it() -> None:
    settings = Settings.from_env({"ROBLOX_OPEN_CLOUD_API_KEY": " key\n", "INBOUND_API_KEYS": " key\n"})

    assert settings.roblox_open_cloud_api_key == settings.inbound_api_keys[0] == SecretStr("key")


def test_allowed_origins_is_another_name_for_cors_origins() -> None:
    other_name = {"ALLOWED_ORIGINS": "https://a.example"}

    assert Settings.from_env(other_name).cors_origins == ("https://a.example",)
    assert Settings.from_env(other_name | {"CORS_ORIGINS": "*"}).cors_origins == ("*",)


@pytest.mark.parametrize("word", ["on", "TRUE", "1", "yes"])
def test_switches_are_words(word: str) -> None:
    assert Settings.from_env({"PERSIST_RECOVERY_ENABLED": word}).persist_recovery_enabled


def test_secrets_appear_neither_in_the_settings_nor_in_the_report() -> None:
    settings = Settings.from_env(SECRETS)
    shown = repr(settings) + str(settings) + settings.model_dump_json() + "\n".join(report(settings))

    assert "s3cret" not in shown


@pytest.mark.parametrize("variable", ["REDIS_URL", "DATABASE_URL"])
def test_a_bad_secret_is_not_in_the_complaint(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: "gopher://user:s3cret@localhost"})

    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__context__)


def test_the_report_says_that_jobs_are_not_taken_without_an_api_server() -> None:
    lines = list(report(Settings.from_env({"REDIS_URL": "redis://localhost"})))

    assert "note: API_BASE_URL is not set, so no room creation jobs are taken from the queue" in lines
    assert lines[-1] == "configuration ok"


def test_every_setting_is_in_the_report() -> None:
    names = {line.partition("=")[0] for line in report(Settings.from_env({})) if "=" in line}

    assert {field.upper() for field in Settings.model_fields} <= names
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in names)


def test_paths_are_paths() -> None:
    assert Settings.from_env({"CONFIG_DIR": "/etc/greenroom"}).config_dir == Path("/etc/greenroom")
