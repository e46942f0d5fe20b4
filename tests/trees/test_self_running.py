"""Which files of a tree some program runs by itself."""

from __future__ import annotations

import pytest

from pyro_mcp.trees import program_that_runs

SERVICES = [
    b".github/workflows/a.yml",
    b".github/actions/a/action.yml",
    b".gitlab-ci.yml",
    b".gitea/workflows/a.yml",
    b".forgejo/workflows/a.yml",
    b".circleci/config.yml",
    b"Jenkinsfile",
    b"azure-pipelines.yml",
    b"bitbucket-pipelines.yml",
    b".woodpecker.yml",
    b".travis.yml",
    b".drone.yml",
    b".buildkite/pipeline.yml",
]


@pytest.mark.parametrize("path", SERVICES)
def test_a_file_that_a_service_runs_is_named_with_the_service(path: bytes) -> None:
    assert program_that_runs(path).endswith(", once pushed")
