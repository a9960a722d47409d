"""Free memory: of the machine, under a container's limit, in the address space."""

import subprocess
import sys

import numpy as np
import pytest

from adaptive_kernels._arrays import memory

GIB = 2**30
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
VERSION_2 = "memory.max", "memory.current", "inactive_file"


def group(folder, names, limit, used, cached=0):
    """The files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {cached}\n")


def left(tmp_path, line):
    groups = tmp_path / "groups"
    groups.write_text(f"7:blkio:/other\n{line}\n")
    return memory._free_in_container(str(groups), str(tmp_path / "fs"))


def test_version_2(tmp_path):
    group(tmp_path / "fs" / "job" / "task", VERSION_2, 4 * GIB, 3 * GIB, GIB // 2)
    assert left(tmp_path, "0::/job/task") == 1.5 * GIB


def test_version_1(tmp_path):
    group(tmp_path / "fs" / "memory" / "job", VERSION_1, 4 * GIB, 3 * GIB, GIB)
    assert left(tmp_path, "4:cpu,memory:/job") == 2 * GIB


def test_the_smallest_limit_of_all_parents_counts(tmp_path):
    group(tmp_path / "fs" / "job", VERSION_2, 4 * GIB, 3 * GIB)
    group(tmp_path / "fs" / "job" / "task", VERSION_2, "max", GIB)
    assert left(tmp_path, "0::/job/task") == GIB


def test_group_of_a_container_is_the_top(tmp_path):
    """The path is one of the host, and is not seen inside."""
    group(tmp_path / "fs", VERSION_2, 2 * GIB, GIB)
    assert left(tmp_path, "0::/system/of/the/host") == GIB


@pytest.mark.parametrize("line", ["0::/job", "4:memory:/job", "9:pids:/job"])
def test_no_limit(tmp_path, line):
    group(tmp_path / "fs" / "job", VERSION_2, "max", GIB)
    assert left(tmp_path, line) is None


def test_no_control_groups(tmp_path):
    assert memory._free_in_container(str(tmp_path / "none")) is None


def test_the_least_counts(monkeypatch):
    monkeypatch.setattr(memory, "_free_on_machine", lambda: 5)
    monkeypatch.setattr(memory, "_free_in_container", lambda: 3)
    monkeypatch.setattr(memory, "_free_addresses", lambda: None)
    assert memory.free_bytes(np.zeros(1)) == 3
    monkeypatch.setattr(memory, "_free_addresses", lambda: 2)
    assert memory.free_bytes(np.zeros(1)) == 2


LIMITED = """
import resource
from adaptive_kernels._arrays import memory
assert memory._free_addresses() is None
limit = 3 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(memory.free_bytes(0.0))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v of Linux")
def test_limit_of_the_address_space():
    command = [sys.executable, "-c", LIMITED]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 0 < int(result.stdout) < 3 * GIB
