import os
from pathlib import Path

import pytest
import torch

# Tensors here are tiny: one thread is as fast, and does not fight with other processes over cores.
# Processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep caches out of the user's home, shared by the tests of one process."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["MARSBENCH_HOME"] = str(folder)
    return folder


@pytest.fixture
def real_data() -> Path:
    """Folder of real data, from MARSBENCH_REAL_DATA."""
    folder = os.environ.get("MARSBENCH_REAL_DATA")
    if not folder:
        pytest.skip("MARSBENCH_REAL_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"MARSBENCH_REAL_DATA={folder} is not a folder")
    return Path(folder)
