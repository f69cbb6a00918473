"""The compiled injector, and the home in which the first scenario was loaded without a fault."""

from pathlib import Path

import pytest

from tests.e2e.fault.home import Home
from tests.e2e.fault.injector import Injector
from tests.e2e.fault.scenario import drop_first


@pytest.fixture(scope="session")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Injector:
    built = Injector.build(tmp_path_factory.mktemp("injector"))
    if built is None:
        pytest.skip("no C compiler: faults cannot be injected here (apt-get install gcc libc6-dev)")
    return built


@pytest.fixture(scope="session")
def loaded_once(injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a home whose first scenario is loaded; beside it the record of its commits, `first.log`."""
    folder = tmp_path_factory.mktemp("loaded") / "home"
    home = Home(folder)
    home.configure()
    drop_first(home)
    run = home.run(injector.recording(folder, folder.parent / "first.log"))
    assert run.returncode == 0, run.stderr
    return folder
