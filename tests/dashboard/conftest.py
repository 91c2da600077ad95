"""A run and its opened dashboard, shared by the tests of one file."""

import pytest
from dashboard_run import make_run, opened


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def client(run):
    with opened(run) as client:
        yield client
