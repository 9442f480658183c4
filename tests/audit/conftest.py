"""Where audits that several tests share are kept, also between the workers of one run."""

import os

import poisoned
import pytest


@pytest.fixture(scope="session", autouse=True)
def folder_of_audits(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    poisoned.FOLDER[:] = [folder]
