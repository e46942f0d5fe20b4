"""`moot.toml`: what is read from it, how each wrong field is named, and changes that keep the rest."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moot.adapters.desk import Role
from moot.config import (
    ActorKey,
    Actors,
    find_config,
    get_actor_key,
    load_actors,
    project_folder,
    read_config,
    require_config,
    resolve_env,
    save_actors,
    set_in_project,
    set_value,
)
from moot.config.editing import changed
from moot.config.reading import config_of
from moot.toml_tables import quoted
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NotFound

_SAMPLE = """\
# the team of the shop
[convo]
api_url = "http://127.0.0.1:8000/"   # ours
# space_id = ""  # the space that the agents join

[agents.product]
model = "anthropic/claude-x:1[1m]"
env = { TOKEN = "${secret:shop-token}", MODE = "a=${secret:one}-${secret:two}" }

[agents.qa]
display_name = "QA"
harness = "codex"
startup_prompt = "  "
effort = "max"
theme = "colour208"

[harness]
type = "opencode"
model = "sonnet"
effort = "low"
model_reasoning_effort = "high"
permission_mode = "plan"
launch_stagger_seconds = 1
runtime = "bottle"
bottle_backend = "docker"
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "moot.toml"
    path.write_text(text)
    return path


def test_a_value_comes_from_the_role_then_from_harness_then_from_a_default(tmp_path: Path) -> None:
    config = read_config(_written(tmp_path, _SAMPLE))

    assert (config.api_url, config.space_id, config.runtime) == ("http://127.0.0.1:8000", None, "bottle")
    assert config.bottle_backend == "docker"
    assert (config.permission_mode, config.launch_stagger_seconds, config.human_interface) == ("plan", 1.0, "product")
    product, qa = config.agents.values()
    assert (product.display_name, product.harness, product.model) == ("Product", "opencode", "anthropic/claude-x:1[1m]")
    assert (product.effort, product.theme, product.profile) == ("low", None, "devcontainer")
    assert (qa.harness, qa.model, qa.effort, qa.theme) == ("codex", "sonnet", "max", "colour208")
    assert {product.model_reasoning_effort, qa.model_reasoning_effort} == {"high"}
    assert "You are the QA agent" in qa.startup_prompt, "an empty prompt in an older file gives the default one"


def test_an_empty_file_has_the_defaults(tmp_path: Path) -> None:
    config = read_config(_written(tmp_path, ""))

    assert (config.roles, config.human_interface, config.harness_type) == ([], "", "claude-code")
    assert (config.permission_mode, config.runtime, config.launch_stagger_seconds) == ("bypassPermissions", "local", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[agents.qa]\nharness = 'cluade-code'", "agents.qa.harness: 'cluade-code' is not known; did you mean 'claude"),
        ("[agents.qa]\nmodle = 'x'", "agents.qa.modle: there is no such key; did you mean 'model'?"),
        ("[agents.qa]\nmodel = 'a b'", "agents.qa.model: 'a b' is not the name of a model"),
        ("[agents.qa]\nmodel = ''", "agents.qa.model: '' is not the name of a model"),
        ("[agents.qa]\nmodel = 3", "agents.qa.model: must be a text, not a number"),
        ("[agents.qa]\neffort = 'hihg'", "agents.qa.effort: 'hihg' is not known; did you mean 'high'?"),
        ("[agents.qa]\ntheme = 'fg=red,#(id)'", "agents.qa.theme: 'fg=red,#(id)' is not a colour"),
        ("[agents.qa]\nenv = 'x'", "agents.qa.env: must be a table, not a text"),
        ("[agents.qa.env]\n'A B' = 'x'", "agents.qa.env: 'A B': 'A B' is not the name of a variable"),
        ("[agents.qa.env]\nCONVO_ROLE = 'x'", "agents.qa.env: 'CONVO_ROLE': moot itself sets"),
        ("[agents.qa.env]\nA = 1", "agents.qa.env: 'A': must be a text, not a number"),
        ("[agents.qa.env]\nA = '${secret:../x}'", "agents.qa.env: 'A': a secret is written ${secret:NAME}"),
        ("[agents.qa.env]\nA = '${secret:x'", "agents.qa.env: 'A': a secret is written ${secret:NAME}"),
        ('[agents.qa.env]\nA = "x\\u0000"', "agents.qa.env: 'A': must not hold control characters"),
        ("[agents.'a.b']", "agents.\"a.b\": 'a.b' is not a role"),
        ("[agents.'$(id)']", "is not a role"),
        ("[agents.'-x']", "is not a role"),
        ("[agents.qa]\n[agents.QA]", "agents.QA: differs from the role 'qa' only in the case"),
        ("agents = 3", "agents: must be a table"),
        ("[[agents]]", "agents: must be a table"),
        ("[agents]\nqa = 3", "agents.qa: must be a table, not a number"),
        ("[convo]\napi_url = 'ftp://x'", "convo.api_url: 'ftp://x' is not the URL of a server"),
        ("[convo]\napi_url = 'http://u:p@x'", "convo.api_url: must be a URL without a user"),
        ("[convo]\napi_url = 'http://[x'", "convo.api_url: 'http://[x' is not the URL"),
        ("[convo]\nspace_id = ''", "convo.space_id: must be one line"),
        ("[convo]\nspace = 'x'", "convo.space: there is no such key; did you mean 'space_id'?"),
        ("[harnes]", "harnes: there is no such key; did you mean 'harness'?"),
        ("[harness]\ntype = 'pi'", "harness.type: 'pi' is not known"),
        ("[harness]\nbottle_backend = 'lxc'", "harness.bottle_backend: 'lxc' is not known"),
        ("[harness]\npermissions = 'all'", "harness.permissions: 'all' is not known"),
        ("[harness]\nlaunch_stagger_seconds = -1", "harness.launch_stagger_seconds: must be between 0 and 3600"),
        ("[harness]\nlaunch_stagger_seconds = nan", "harness.launch_stagger_seconds: must be between"),
        ("[harness]\nlaunch_stagger_seconds = true", "must be a number, not true or false"),
        ("[harness]\nruntime = 'docker'", "harness.runtime: 'docker' is not known; choose from local, devcontainer"),
        (
            "[harness]\nhuman_interface = 'lead'\n[agents.leader]",
            "harness.human_interface: there is no role 'lead'",
        ),
        ('[agents.qa]\ndisplay_name = "a\\u0007b"', "agents.qa.display_name: must not hold control characters"),
        ("x" * 2000, "moot.toml"),
        ("a" + ".a" * 100_000 + " = 1", "line 1 has a key of more than 100 parts"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = 1\na = 2", "moot.toml"),
        ("[convo]\nspace_id = 1979-05-27", "convo.space_id: must be a text, not a date or time"),
        ("\ud800", "is not text in UTF-8"),
        ("\n".join(f"[agents.r{n}]" for n in range(60)), "agents: has more than 50 roles"),
        ("# " + "x" * 1024 * 1024, "is larger than 1024 KiB"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_wrong_file_is_refused_and_the_field_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "moot.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))

    with pytest.raises(InvalidRequest) as raised:
        read_config(path)

    assert message in str(raised.value)
    assert len(str(raised.value)) < 5000 and all(one.isprintable() or one == "\n" for one in str(raised.value))


def test_a_fifo_or_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "moot.toml").mkdir()
    with pytest.raises((InvalidRequest, OSError)):
        read_config(tmp_path / "moot.toml")


def test_permissions_is_another_name_of_the_permission_mode(tmp_path: Path) -> None:
    def mode(text: str) -> str:
        return read_config(_written(tmp_path, f"[harness]\n{text}")).permission_mode

    assert mode('permissions = "dangerously-skip"') == "bypassPermissions"
    assert mode('permissions = "default"') == "default"
    assert mode('permissions = "dangerously-skip"\npermission_mode = "bypassPermissions"') == "bypassPermissions"
    with pytest.raises(
        InvalidRequest, match=r"harness\.permissions: means bypassPermissions, but permission_mode is plan"
    ):
        mode('permissions = "dangerously-skip"\npermission_mode = "plan"')


def test_the_nearest_file_upwards_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert find_config() is None
    with pytest.raises(NotFound, match=r"no moot\.toml found") as raised:
        require_config()
    assert "moot init" in raised.value.hint

    _written(tmp_path, "[agents.qa]\n")
    assert require_config().roles == ["qa"]
    with pytest.raises(NotFound, match=r"unknown role 'qaa'\. Available: qa"):
        require_config().agent("qaa")


def test_secrets_are_filled_in_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOT_SECRETS_DIR", str(tmp_path))
    agent = read_config(_written(tmp_path, _SAMPLE)).agent("product")
    for name, value in {"shop-token": "top\n", "one": "1", "two": "${secret:one}"}.items():
        (tmp_path / name).write_text(value)

    assert resolve_env(agent) == {"TOKEN": "top", "MODE": "a=1-${secret:one}"}

    (tmp_path / "one").unlink()
    with pytest.raises(NotFound, match=r"agents\.product\.env\.MODE: there is no secret one") as raised:
        resolve_env(agent)
    assert str(tmp_path / "one") in raised.value.hint


def test_set_changes_one_line_and_keeps_the_rest(tmp_path: Path) -> None:
    path = _written(tmp_path, _SAMPLE)
    path.chmod(0o640)
    set_value(path, "space_id", "spc_1")
    set_value(path, "api_url", "http://127.0.0.1:9")
    set_value(path, "template", "loop-4")

    text = path.read_text()
    changed_lines = [line for line in text.splitlines() if line not in _SAMPLE.splitlines()]
    assert changed_lines == [
        'api_url = "http://127.0.0.1:9"   # ours',
        'space_id = "spc_1"  # the space that the agents join',
        'template = "loop-4"',
    ]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["moot.toml"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("theme", "x", "cannot set 'theme'. Settable keys: api_url, space_id, template"),
        ("api_url", "nonsense", "convo.api_url"),
        ("space_id", 'x"\n[agents.evil]', "convo.space_id"),
        ("template", "", "convo.template"),
    ],
)
def test_set_refuses_what_the_reader_would_refuse(key: str, value: str, message: str, tmp_path: Path) -> None:
    path = _written(tmp_path, _SAMPLE)

    with pytest.raises(InvalidRequest, match=re.escape(message)):
        set_value(path, key, value)

    assert path.read_text() == _SAMPLE


def test_set_needs_a_valid_file_with_its_section(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no \[convo\] section"):
        set_value(_written(tmp_path, "[agents.qa]\n"), "template", "x")
    with pytest.raises(InvalidRequest, match=r"agents\.qa\.modle"):
        set_value(_written(tmp_path, "[convo]\n[agents.qa]\nmodle = 1\n"), "template", "x")


_LINES = st.sampled_from(
    [
        *("[convo]", "[convo] # y", "# [convo]", "[agents.qa]", "[harness]", ""),
        *("# space_id = 1", '# space_id = "" # x', '  # space_id="#"', "space_id = 'old' # c"),
        *('template = "t"', 'model = "x"', 'startup_prompt = """', '"""', "'''"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(_LINES, max_size=8), value=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_set_either_sets_exactly_its_key_or_refuses(lines: list[str], value: str) -> None:
    text, path = "\n".join(lines), Path("moot.toml")
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    try:
        after = tomllib.loads(changed(text, "space_id", value, path))
    except InvalidRequest:
        assert not isinstance(before.get("convo"), dict)
        return
    before["convo"]["space_id"] = value
    assert after == before


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_a_string_of_toml(text: str) -> None:
    assert tomllib.loads(f"a = {quoted(text)}") == {"a": text}


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["convo", "agents", "harness", "qa", "model", "env", "type", "x"]), inner),
        ),
        max_leaves=12,
    ).filter(lambda found: isinstance(found, dict))
)
def test_any_document_is_read_or_refused(document: dict[str, object]) -> None:
    with suppress(InvalidRequest):
        assert config_of(document, Path("moot.toml")).path.name == "moot.toml"


def test_the_keys_are_private_and_survive_damage_with_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_actors() is None and get_actor_key("qa") == ""
    (tmp_path / ".moot").mkdir(mode=0o755)
    actors = Actors("spc_1", "Home", "http://x", {"qa": ActorKey("agt_1", "convo_1", "QA")})
    path = save_actors(actors, tmp_path)

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert load_actors() == actors and get_actor_key("QA") == "convo_1" and get_actor_key("spec") == ""
    for damage in (b"", b"[]", b'{"actors": 3}', b'{"actors": {"qa": 3}}', b"\xff", b"[" * 100_000):
        path.write_bytes(damage)
        with pytest.raises(InvalidRequest, match=r"actors\.json is damaged"):
            load_actors()
    path.parent.rename(tmp_path / "elsewhere")
    (tmp_path / ".moot").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostNotReady, match="is not a folder that only you can write to"):
        save_actors(actors, tmp_path)


def test_the_project_of_a_submodule_is_the_submodule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, library = tmp_path / "outer", tmp_path / "library"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    for folder in (outer, library):
        subprocess.run([*git, "init", "-q", str(folder)], check=True, timeout=60)
        subprocess.run([*git, "-C", folder, "commit", "-q", "--allow-empty", "-m", "x"], check=True, timeout=60)
    subprocess.run([*git, "-C", outer, "submodule", "--quiet", "add", str(library), "inner"], check=True, timeout=60)
    monkeypatch.chdir(outer / "inner")

    assert project_folder() == (outer / "inner").resolve()


def test_an_agent_is_frozen(tmp_path: Path) -> None:
    agent = read_config(_written(tmp_path, _SAMPLE)).agent("qa")
    with pytest.raises(dataclasses.FrozenInstanceError):
        agent.role = "x"  # type: ignore[misc]


def test_keys_are_not_for_a_server_that_somebody_put_into_moot_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _written(tmp_path, '[convo]\napi_url = "http://evil.example"\n[agents.qa]\n')
    save_actors(Actors("spc_1", "Home", "http://127.0.0.1:8000", {"qa": ActorKey("agt_1", "convo_1", "QA")}), tmp_path)
    actors = load_actors()
    assert actors is not None
    monkeypatch.setenv("CONVO_ROLE", "qa")

    with pytest.raises(Conflict, match=r"names the server http://evil\.example, but the keys") as raised:
        actors.require_server(read_config(path).api_url)
    assert "moot config set api_url http://127.0.0.1:8000" in raised.value.hint
    with pytest.raises(Conflict):
        Role.from_environment()

    set_in_project(path, "api_url", "http://localhost:8000/")
    assert Role.from_environment().api_url == "http://localhost:8000"
