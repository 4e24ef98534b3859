"""One demo of compose.yaml for all tests that need it: bringing it up takes a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.compose_demo import ALL_SERVICES, IN_CI
from tests.deploy.compose_project import Project, plain_environment
from tests.deploy.docker_engine import missing_parts, running_engine
from tests.deploy.stand_in_images import build_all


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    problems = missing_parts()
    if problems and IN_CI:
        pytest.fail("; ".join(problems))
    if problems:
        pytest.skip("; ".join(problems))
    with running_engine(plain_environment()) as environment:
        build_all(environment, {name: service["image"] for name, service in ALL_SERVICES.items()})
        project = Project(environment, tmp_path_factory.mktemp("compose"))
        # The scenario without faults: a test makes a guest hang when it is ready to look.
        project.set("DEMO_SCENARIO", "healthy")
        try:
            project.compose("up", "--build", "--detach", "--wait", "--wait-timeout", "180", explain=True)
            yield project
        finally:
            project.compose("--profile", "postgres", "down", "--volumes", "--timeout", "10")
