"""Files are replaced whole or not at all, whatever kills the writer, and what it leaves behind can be swept."""

import errno
import signal
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from pysnnmed.data import atomic_write, sweep_temporaries
from pysnnmed.errors import FileError, PysnnmedError

OLD, NEW = b"the old content", b"the new content" * 1000


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(OLD)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_replaced_and_nothing_else_is_left(target):
    atomic_write(target, lambda stream: stream.write(NEW))
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["weights.bin"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "ours", lambda stream: stream.write(NEW))
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_followed(target, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(target.name)
    atomic_write(link, lambda stream: stream.write(NEW))
    assert link.is_symlink()
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), MemoryError()])
def test_a_failing_writer_leaves_the_old_file_and_its_own_error(target, error):
    def write(stream):
        stream.write(NEW)
        raise error

    with pytest.raises(type(error)) as caught:
        atomic_write(target, write)
    assert caught.value is error
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["weights.bin"]


def test_a_full_disk_is_an_error_of_ours_and_of_the_system(target):
    def write(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match="No space left on device; nothing was written") as caught:
        atomic_write(target, write)
    assert isinstance(caught.value, PysnnmedError)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == OLD


def test_a_missing_folder_and_a_folder_in_the_way_are_named(tmp_path):
    for path in (tmp_path / "missing" / "x", tmp_path):
        with pytest.raises(FileError, match=str(path)):
            atomic_write(path, lambda stream: stream.write(NEW))
    assert names(tmp_path) == []


@pytest.mark.parametrize("limit", [0, 1, 4096, len(NEW) - 1])
def test_a_limit_on_the_size_of_files_leaves_the_old_one(target, limit):
    """The stand-in for a full disk, at several sizes, in a process of its own."""
    code = (
        "import resource, signal, sys; from pysnnmed.data import atomic_write; from pysnnmed.errors import FileError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try: atomic_write(sys.argv[1], lambda s: s.write(b'the new content' * 1000))\n"
        "except FileError: print('refused')"
    )
    command = [sys.executable, "-B", "-c", code, str(target), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "refused\n"
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["weights.bin"]


def test_a_killed_writer_leaves_the_old_file_and_a_temporary_that_is_swept(target):
    code = (
        "import sys; from pysnnmed.data import atomic_write\n"
        "def write(stream):\n"
        "    stream.write(b'half'); stream.flush(); print('writing', flush=True); sys.stdin.read()\n"
        "atomic_write(sys.argv[1], write)"
    )
    command = [sys.executable, "-c", code, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout.readline() == b"writing\n"
        assert sweep_temporaries(target.parent) == 0  # still at work
        assert len(names(target.parent)) == 2
        writer.send_signal(signal.SIGKILL)
    assert target.read_bytes() == OLD
    assert sweep_temporaries(target.parent) == 1
    assert names(target.parent) == ["weights.bin"]


def test_sweeping_spares_writers_of_this_process_and_other_files(target):
    (target.parent / "notes.tmp").write_bytes(b"mine")
    started, proceed = threading.Event(), threading.Event()

    def write(stream):
        started.set()
        proceed.wait(10)
        stream.write(NEW)

    thread = threading.Thread(target=atomic_write, args=(target, write))
    thread.start()
    assert started.wait(10)
    assert sweep_temporaries(target.parent) == 0
    proceed.set()
    thread.join()
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["notes.tmp", "weights.bin"]


def test_writers_at_the_same_time_leave_one_whole_file(target):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(target, lambda s, c=c: s.write(c))) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert names(target.parent) == ["weights.bin"]
