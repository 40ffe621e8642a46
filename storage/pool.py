"""The pool of codec processes: pixel work where a crash, a hang or a flood of memory costs one task only."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from storage.errors import CodecFailed, StorageError
from storage.executor import processors

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from storage.codecs.frames import Frame

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_MB = 2048
SECONDS = 300.0

# Codecs leak, so a worker does not live for ever.
_TASKS_OF_A_WORKER = 2000
# A worker whose pool is gone ends by itself so long after its time is up.
_GRACE_SECONDS = 10
_START_SECONDS = 60
_MB = 1024 * 1024


class CodecPool:
    """Worker processes for tasks, started when tasks come; to be used from any thread.

    Of a task that raises StorageError or OSError the caller gets just that. Whatever else becomes of it, a crash, more
    than `seconds` of time or `memory_mb` of memory: CodecFailed, which says what; the worker is replaced. Workers start
    with nothing of this process, and end with it however it does. Their temporary files are in `temporary`.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        memory_mb: int = MEMORY_MB,
        seconds: float = SECONDS,
        temporary: Path | None = None,
    ) -> None:
        self.workers = workers or processors()
        self._temporary = temporary
        self._memory_mb = memory_mb
        self._seconds = seconds
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._starting = 0
        self._closed = False
        self._threads: ThreadPoolExecutor | None = None

    def run(self, task: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a task in a worker and wait for its result; `task` is a function of a module, the rest picklable.

        Large arrays of the result come back in shared memory. Raises what the task raises, or CodecFailed.
        """
        call = pickle.dumps((task, args, kwargs), protocol=5)
        while True:
            worker = self._taken()
            try:
                worker.begin(call, self._seconds)
            except (BrokenPipeError, ConnectionResetError):
                self._given_back(worker, usable=False)  # it was killed while it waited
                continue
            except BaseException:
                self._given_back(worker, usable=False)
                raise
            break
        usable = False
        try:
            answer = worker.answer(self._seconds, self._memory_mb)
            usable = worker.tasks < _TASKS_OF_A_WORKER
        finally:
            self._given_back(worker, usable=usable)
        if isinstance(answer, _Raised):
            raise answer.error
        return answer  # type: ignore[no-any-return]

    def submit(self, task: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do what `run` does without waiting: as many at a time as there are workers, in the order of submission."""
        with self._changed:
            if self._closed:
                raise CodecFailed("the codec processes have been ended")
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="codec pool")
            return self._threads.submit(self.run, task, *args, **kwargs)

    def decode(self, path: Path, frames: Iterable[int] | None = None) -> Iterator[Frame]:
        """Yield decoded frames as `storage.codecs.frames.decode_frames` does, some at a time."""
        from storage.codecs.batch import decode_batch  # here, for numpy is not for processes that decode nothing

        numbers = None if frames is None else list(frames)
        done = 0
        while numbers is None or done < len(numbers):
            batch, count = self.run(decode_batch, path, numbers, done)
            yield from batch
            done += len(batch)
            if done >= count:
                return

    def worker_ids(self) -> tuple[int, ...]:
        """The numbers of the processes there are now."""
        with self._changed:
            return tuple(worker.process.pid for worker in (*self._idle, *self._busy) if worker.process.pid is not None)

    def close(self) -> None:
        """End all workers; tasks that are under way fail."""
        with self._changed:
            self._closed = True
            idle, busy = [*self._idle], [*self._busy]
            self._idle.clear()
            threads, self._threads = self._threads, None
            self._changed.notify_all()
        for worker in busy:
            worker.process.kill()  # who waits for it hears that, and clears up
        for worker in idle:
            worker.kill()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> CodecPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(self) -> _Worker:
        """Wait for a worker that is free, or start one."""
        with self._changed:
            while True:
                if self._closed:
                    raise CodecFailed("the codec processes have been ended")
                while self._idle:
                    worker = self._idle.pop()
                    if worker.process.is_alive():
                        self._busy.add(worker)
                        return worker
                    worker.kill()
                if len(self._busy) + self._starting < self.workers:
                    self._starting += 1
                    break
                self._changed.wait()
        started: _Worker | None = None
        try:
            started = _Worker(self._memory_mb, self._temporary)
        finally:
            with self._changed:
                self._starting -= 1
                if started is not None:
                    self._busy.add(started)
                closed = self._closed
                self._changed.notify()
        if closed:
            self._given_back(started, usable=False)
            raise CodecFailed("the codec processes have been ended")
        return started

    def _given_back(self, worker: _Worker, *, usable: bool) -> None:
        with self._changed:
            self._busy.discard(worker)
            usable = usable and not self._closed
            if usable:
                self._idle.append(worker)
            self._changed.notify()
        if not usable:
            worker.kill()


# Starting one asks the one fork server, whose own start is not safe from two threads at once.
_starting = threading.Lock()


@dataclass(eq=False)
class _Worker:
    """One process, and our end of the pipe to it."""

    memory_mb: int
    temporary: Path | None
    process: BaseProcess = field(init=False)
    pipe: Connection = field(init=False)
    tasks: int = 0

    def __post_init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        with _starting:
            self.pipe, theirs = context.Pipe()
            try:
                self.process = context.Process(  # type: ignore[attr-defined]
                    target=_work, args=(theirs, self.memory_mb, self.temporary), name="dgate codec", daemon=True
                )
                self.process.start()
            except BaseException:
                self.pipe.close()
                raise
            finally:
                theirs.close()
        # A slow start is not the fault of the task that waits for it.
        try:
            ready = self.pipe.poll(_START_SECONDS) and self.pipe.recv()
        except (EOFError, ConnectionResetError):
            ready = False
        if not ready:
            self.kill()
            raise CodecFailed("a codec process does not start")

    def begin(self, call: bytes, seconds: float) -> None:
        self.tasks += 1
        self.pipe.send((seconds, len(call)))
        self.pipe.send_bytes(call)

    def answer(self, seconds: float, memory_mb: int) -> Any:
        """Wait for the result; CodecFailed when there will be none."""
        try:
            if not self.pipe.poll(seconds):
                raise CodecFailed(f"no result within {seconds:g} s")
            kind, sizes = self.pipe.recv()
            if kind == "memory":
                raise CodecFailed(f"it needs more than {memory_mb} MB of memory")
            if kind == "failed":
                raise CodecFailed(sizes)
            data = self.pipe.recv_bytes()
            return pickle.loads(data, buffers=self._buffers(sizes))
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            raise CodecFailed(f"the codec process {_how_ended(self.process.exitcode)}") from None

    def _buffers(self, sizes: list[int]) -> list[memoryview]:
        if not sum(sizes):
            return [memoryview(b"")] * len(sizes)
        handle = reduction.recv_handle(self.pipe)
        try:
            shared = memoryview(mmap.mmap(handle, sum(sizes)))
        finally:
            os.close(handle)
        places = [sum(sizes[:number]) for number in range(len(sizes))]
        return [shared[place : place + size] for place, size in zip(places, sizes, strict=True)]

    def kill(self) -> None:
        self.process.kill()
        self.process.join(5)
        self.pipe.close()


def _how_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a task raised for its caller."""

    error: BaseException


def _work(pipe: Connection, memory_mb: int, temporary: Path | None) -> None:
    """Do tasks until the pipe is closed, which it is when the pool is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = None if temporary is None else str(temporary)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * _MB, memory_mb * _MB))
    # Codecs talk; what matters of it comes back as the reason of a failure.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # Arrays are worked on one by one here; threads of a linear algebra library would only cost memory.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    pipe.send(True)
    while True:
        try:
            seconds, _ = pipe.recv()
            call = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        # The default action of this signal ends the process even inside a codec that hangs.
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_SECONDS)
        _do(pipe, call)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _do(pipe: Connection, call: bytes) -> None:
    buffers: list[pickle.PickleBuffer] = []
    try:
        task, args, kwargs = pickle.loads(call)
        try:
            result = task(*args, **kwargs)
        except (StorageError, OSError) as error:
            result = _Raised(error)
        data = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
    except MemoryError:
        # What is left after that is anybody's guess: another process takes over.
        pipe.send(("memory", []))
        sys.exit(0)
    except Exception as error:  # the boundary of a worker: whatever a codec raises is the failure of one task
        pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"))
        return
    pipe.send(("done", [view.nbytes for view in views]))
    pipe.send_bytes(data)
    if any(view.nbytes for view in views):
        _send_shared(pipe, views)


def _send_shared(pipe: Connection, views: list[memoryview]) -> None:
    """Hand over the buffers of arrays in one file that exists in memory alone."""
    handle = os.memfd_create("dgate pixels", os.MFD_CLOEXEC)
    try:
        for view in views:
            while view.nbytes:
                view = view[os.write(handle, view) :]
        reduction.send_handle(pipe, handle, os.getppid())
    finally:
        os.close(handle)
