"""The environment is read once, and a bad value is named in one line."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from actors.players.tables import SERVER_ID_CHARACTERS
from web.check_config import ConfigError, report
from web.settings import SECRETS as SECRETS_IN_FILES
from web.settings import Settings, SettingsError
from web.settings_warnings import meant_by, warnings

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
    assert settings.h2c
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
        ("H2C", "perhaps"),
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
        *[("STAT_NAMES", field) for field in ("transaction_id", "reason", "server_id")],
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
    shown = repr(settings) + str(settings) + settings.model_dump_json() + "\n".join(report(settings, {}))

    assert "s3cret" not in shown


@pytest.mark.parametrize("variable", ["REDIS_URL", "DATABASE_URL"])
def test_a_bad_secret_is_not_in_the_complaint(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: "gopher://user:s3cret@localhost"})

    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__context__)


def test_the_report_says_that_jobs_are_not_taken_without_an_api_server() -> None:
    lines = list(report(Settings.from_env({"REDIS_URL": "redis://localhost"}), {}))

    assert "note: API_BASE_URL is not set, so no room creation jobs are taken from the queue" in lines
    assert lines[-1] == "configuration ok"


def test_every_setting_is_in_the_report() -> None:
    names = {line.partition("=")[0] for line in report(Settings.from_env({}), {}) if "=" in line}

    assert {field.upper() for field in Settings.model_fields} <= names
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in names)


def test_paths_are_paths() -> None:
    assert Settings.from_env({"CONFIG_DIR": "/etc/greenroom"}).config_dir == Path("/etc/greenroom")


@pytest.mark.parametrize("end", ["\r", "\r\n", " ", "\t\n"])
def test_white_space_at_either_end_of_a_value_is_stripped(end: str) -> None:
    plain = {
        "PORT": "4711",
        "ADMIN_TOKEN": "admin",
        "JWT_SECRET": "one,two",
        "NODE_NAME": "node1",
        "DATA_DIR": "/data",
        "REDIS_URL": "redis://host/0",
        "API_BASE_URL": "http://host/internal",
        "GAME_SERVER_TOKENS": "srv7:token",
        "LOG_LEVEL": "debug",
    }

    assert Settings.from_env({name: f" {value}{end}" for name, value in plain.items()}) == Settings.from_env(
        plain
    )


@pytest.mark.parametrize("name", SECRETS_IN_FILES)
def test_every_secret_may_stand_in_a_file(name: str, tmp_path: Path) -> None:
    urls = {"REDIS_URL": "redis://h/0", "API_BASE_URL": "http://h", "DECISION_HOOK_URL": "https://h/hook"}
    urls |= dict.fromkeys(("DATABASE_URL", "DATABASE_LISTEN_URL"), "postgresql://h/d")
    value = urls.get(name, "s3cret-in-a-file")
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbf" + value.encode() + b"\r\n")

    assert Settings.from_env({f"{name}_FILE": str(file)}) == Settings.from_env({name: value})


def test_a_file_of_several_secrets_may_have_one_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("srv1:one\nsrv2:two\n", encoding="utf-8")

    assert Settings.from_env({"GAME_SERVER_TOKENS_FILE": str(file)}) == Settings.from_env(
        {"GAME_SERVER_TOKENS": "srv1:one,srv2:two"}
    )


@pytest.mark.parametrize(
    ("content", "also", "problem"),
    [
        (None, {}, "No such file"),
        (b"\xff\xfe", {}, "not UTF-8"),
        (b"", {}, "is empty"),
        (b"\xef\xbb\xbf \r\n", {}, "is empty"),
        (b"x" * 70_000, {}, "more than"),
        (b"fine", {"ADMIN_TOKEN": "given"}, "ADMIN_TOKEN is set too"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(
    content: bytes | None, also: dict[str, str], problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=problem) as refused:
        Settings.from_env({"ADMIN_TOKEN_FILE": str(file), **also})
    assert refused.value.variable == "ADMIN_TOKEN_FILE"


@pytest.mark.parametrize(
    "name", ["ADMIN_TOKEN", "METRICS_TOKEN", "INTERNAL_API_KEY", "INBOUND_API_KEYS", "GAME_SERVER_TOKENS"]
)
@pytest.mark.parametrize("value", ["two words", "caf\u00e9", "tab\there"])
def test_a_secret_that_no_header_can_carry_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="visible ASCII") as refused:
        Settings.from_env({name: value})
    assert refused.value.variable == name


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example:443",
        "http://a.example:80",
        "https://m\u00fcnchen.example",
        "https://*.example",
        "https://*",
        "https://a.*.example",
        "https://a*.game.example",
        "https://**.game.example",
        "https://*.*.example",
        "https://*.game.example:443",
        "https://*.game.example:*",
        "*://a.game.example",
        "*.game.example",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"can never match|is not an origin"):
        Settings.from_env({"CORS_ORIGINS": origin})


@pytest.mark.parametrize("origin", ["https://*.game.example", "http://*.a.game.example:8080"])
def test_an_origin_may_have_a_star_for_its_first_label(origin: str) -> None:
    assert Settings.from_env({"CORS_ORIGINS": origin}).cors_origins == (origin,)


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"ROOM_AUTH": "token"}, "JWT_SECRET"),
        ({"JWT_JWKS_FILE": "a", "JWT_JWKS_URL": "http://a/b"}, "JWT_JWKS_URL"),
        ({"CORS_CREDENTIALS": "on", "CORS_ORIGINS": "*"}, "CORS_CREDENTIALS"),
    ],
)
def test_what_makes_no_sense_together_with_tokens_stops_the_start(env: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(env)
    assert refused.value.variable == variable


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_URI", "REDIS_URL"),
        ("MAX_STREAM", "MAX_STREAMS"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("GREENROOM_ADMIN_TOKEN", "ADMIN_TOKEN"),
        ("INBOUND_API_KEY", "INBOUND_API_KEYS"),
        ("PATH", None),
        ("HOSTNAME", None),
        ("NODE_ENV", None),
        ("SSL_CERT_FILE", None),
        ("SSL_CERT_DIR", None),
        ("TLS_CERT_FILES", "TLS_CERT_FILE"),
        ("PORT", None),
        ("ADMIN_TOKEN_FILE", None),
        ("ALLOWED_ORIGINS", None),
    ],
)
def test_a_variable_that_is_nearly_one_of_ours_is_warned_about(name: str, meant: str | None) -> None:
    assert meant_by(name) == meant


@pytest.mark.parametrize(("old", "lines"), [("https://b.example", 1), (" https://a.example", 0), ("", 0)])
def test_two_names_of_one_setting_that_differ_are_warned_about(old: str, lines: int) -> None:
    env = {"CORS_ORIGINS": "https://a.example", "ALLOWED_ORIGINS": old}
    settings = Settings.from_env(env)

    assert len(list(warnings(settings, env))) == lines
    assert settings.cors_origins == Settings.from_env({"CORS_ORIGINS": "https://a.example"}).cors_origins


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_value_are_warned_about(quote: str) -> None:
    value = "a-long-enough-token"
    for text, said in ((f"{quote}{value}{quote}", 1), (value, 0), (f"{value}{quote}", 0)):
        env = {"ADMIN_TOKEN": text}
        lines = list(warnings(Settings.from_env(env), env))

        assert len(lines) == said
        assert value not in "".join(lines)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("?schema=public", "unknown option 'schema'"),
        ("?pgbouncer=true&connection_limit=5", "unknown option 'pgbouncer'"),
        ("?sslmode=on", "sslmode: wanted one of"),
        ("?sslmode=require&application_name=x&connect_timeout=3&options=-csearch_path%3Dgame", None),
        ("?target_session_attrs=read-write", None),
        ("", None),
    ],
)
def test_a_database_url_with_options_no_connection_takes_stops_the_start(
    query: str, problem: str | None
) -> None:
    env = {"DATABASE_URL": f"postgresql://u:hush@h/d{query}"}
    if problem is None:
        Settings.from_env(env)
        return
    with pytest.raises(SettingsError, match=problem) as refused:
        Settings.from_env(env)
    assert refused.value.variable == "DATABASE_URL"
    assert "hush" not in str(refused.value)


def test_weak_secrets_are_warned_about_and_never_shown() -> None:
    env = {
        "ADMIN_TOKEN": "short",
        "JWT_SECRET": "x" * 31,
        "GAME_SERVER_TOKENS": f"a-long-server-name:{'y' * 3}",
    }

    said = list(warnings(Settings.from_env(env), env))

    assert [line.split()[0] for line in said] == ["ADMIN_TOKEN", "GAME_SERVER_TOKENS", "JWT_SECRET"]
    assert not any(secret in line for line in said for secret in ("short", "x" * 31, "yyy"))


def test_strong_secrets_and_known_variables_are_not_warned_about() -> None:
    env = {"ADMIN_TOKEN": "a" * 16, "JWT_SECRET": "b" * 32, "PATH": "/bin", "HOME": "/"}

    assert list(warnings(Settings.from_env(env), env)) == []


def test_user_info_in_a_url_is_not_shown() -> None:
    env = {
        "API_BASE_URL": "http://ann:s3cret@host:3001/internal",
        "ROBLOX_API_BASE": "https://k:s3cret@r.example",
    }

    said = "\n".join(report(Settings.from_env(env), env))

    assert "API_BASE_URL=http://***@host:3001/internal" in said
    assert "s3cret" not in said


def test_what_would_stop_the_start_is_found_beforehand(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    env = {"TLS_CERT_FILE": str(file), "TLS_KEY_FILE": str(file), "DATA_DIR": str(file / "var")}

    with pytest.raises(ConfigError) as refused:
        list(report(Settings.from_env(env), env))

    assert [problem.partition(":")[0] for problem in refused.value.problems] == ["TLS_CERT_FILE", "DATA_DIR"]


def test_several_redis_are_told_apart_at_the_next_scheme() -> None:
    one, two = "redis://:a,b@one:6379/0", "rediss://two/1"

    settings = Settings.from_env({"REDIS_URL": f"{one}, {two}"})

    assert settings.redis_urls == (one, two)
    assert "a,b" not in repr(settings)


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        ("redis://h/0,redis://h:6379", "twice"),
        ("redis://h/0,redis://other/x", "number of a database"),
        ("redis://h/0,gopher://other", "REDIS_URL"),
    ],
)
def test_a_list_of_redis_that_cannot_be_meant_is_refused(urls: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Settings.from_env({"REDIS_URL": urls})
