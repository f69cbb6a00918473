"""Probes in processes of their own, each file with a time limit: a hang or a crash costs one file, not the run.

`concurrent.futures` cannot end a worker that hangs, nor say which task broke its pool; this can, in little code: one
thread drives one worker process through a pipe and kills it when the answer is late.
"""

import contextlib
import logging
import os
import pickle
import queue
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import IO, cast

from include.probe.probe import FileReport, ProbeTask

log = logging.getLogger(__name__)

BASE_SECONDS = 60.0  # for any file
BYTES_PER_SECOND = 4 << 20  # the slowest decompression and check that is not called a hang
ENDING_SECONDS = 5.0  # between a worker's last word and its end
MEMORY_LIMIT = 4 << 30  # bytes of address space a worker may use


class ProbePool:
    """`size` worker processes, started at once and in the background; `close` ends them."""

    def __init__(self, size: int | None = None) -> None:
        self._size = size or max(1, len(os.sched_getaffinity(0)))
        self._workers = [_Worker() for _ in range(self._size)]
        self._busy = threading.Lock()

    def map(self, tasks: Sequence[ProbeTask], progress: Callable[[int], None] | None = None) -> list[FileReport]:
        """A report for each task, in order. Who comes while another thread is served waits."""
        with self._busy:
            return self._map(tasks, progress)

    def _map(self, tasks: Sequence[ProbeTask], progress: Callable[[int], None] | None) -> list[FileReport]:
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(tasks)):
            todo.put(index)
        reports: list[FileReport | None] = [None] * len(tasks)
        failures: list[BaseException] = []

        def drive(worker: _Worker) -> None:
            try:
                while True:
                    index = todo.get_nowait()
                    reports[index] = worker.ask(tasks[index])
                    if progress:
                        progress(index)
            except queue.Empty:
                return
            except BaseException as error:  # noqa: BLE001  raised again below, in the caller's thread
                failures.append(error)

        threads = [threading.Thread(target=drive, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return [cast(FileReport, report) for report in reports]

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One worker process and the pipe to it."""

    def __init__(self) -> None:
        self._process = self._start()

    def ask(self, task: ProbeTask) -> FileReport:
        seconds = BASE_SECONDS + task.planned.size / BYTES_PER_SECOND
        try:
            pickle.dump(task, self._stdin)
            self._stdin.flush()
            if select.select([self._stdout], [], [], seconds)[0]:
                report = pickle.load(self._stdout)
                if isinstance(report, Exception):
                    raise report
                return cast(FileReport, report)
            reason = f"looking at the file took longer than {seconds:.0f} s"
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            reason = f"looking at the file ended its process ({_cause(self._end())})"
        log.warning("%s: %s", task.path, reason)
        self.stop()
        self._process = self._start()
        return FileReport(task.path, "broken", reason)

    def _end(self) -> int:
        """The exit code of a process that has ended, or is ended because what it sent is no report."""
        try:
            return self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @property
    def pid(self) -> int:
        """The process id of the worker that runs now."""
        return self._process.pid

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # what was not sent to a process that is dead
            self._stdin.close()
        self._stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    @property
    def _stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdout)

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        # bufsize=0 would make every pickle opcode a system call; the buffer is flushed after each task.
        return subprocess.Popen(
            [sys.executable, "-m", "include.probe.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )


def _cause(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"


def serve(tasks: IO[bytes], reports: IO[bytes]) -> None:
    """A worker's loop: answer tasks until the pipe closes, which it does when the driver dies."""
    from include.probe.probe import probe  # noqa: PLC0415  in the worker only

    while True:
        try:
            task = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer: FileReport | Exception = probe(task)
        except Exception as error:  # noqa: BLE001  a defect of the probe, or input and output that failed
            answer = _unforeseen(task, error)
        pickle.dump(answer, reports)
        reports.flush()


def _unforeseen(task: ProbeTask, error: Exception) -> FileReport | Exception:
    """What becomes of a file at which the probe failed: it is left out by name, as the other files may be good.

    Not where its reading failed, which may pass: that is raised again in the driver.
    """
    if isinstance(error, OSError) or type(error).__module__.startswith("obstore"):
        return RuntimeError(f"{task.path}: {type(error).__name__}: {error}")
    traceback.print_exception(error)  # to the driver's own stderr
    return FileReport(task.path, "broken", f"a defect in looking at it, please report: {type(error).__name__}: {error}")


def main() -> None:
    """Entry of a worker process."""
    import resource  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the pickles
    serve(sys.stdin.buffer, reports)


if __name__ == "__main__":
    main()
