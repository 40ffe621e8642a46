"""Final names made to survive a power cut behind the answer: until then each file keeps its temporary name as well."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from storage.device import Device
from storage.durable import DurableDirectories
from storage.staged import remove_temporary

# A batch is so many names, or what came in so many seconds: one sync for each directory in it.
_BATCH = 200
_PAUSE_S = 1.0

# Final name: device, temporary name.
_Names = dict[str, tuple[Device, str]]


class Settling:
    """Syncs the directories of final names in batches, then takes the temporary names away.

    A thread of its own does so; it begins with the first name and ends with `close`, after which there may be more.
    Threads share one; a forked process uses its copy for what it adds itself.
    """

    def __init__(self) -> None:
        self._durable = DurableDirectories()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._names: _Names = {}
        self._changed = threading.Condition()
        self._working = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, device: Device, final: str, temporary: str) -> None:
        """Take over a file that has both names, and is durable under the temporary one."""
        if self._process != os.getpid():
            self._begin()
        with self._changed:
            self._names[final] = (device, temporary)
            if self._thread is None:
                self._start()
            elif len(self._names) in (1, _BATCH):
                self._changed.notify()

    def forget(self, final: str) -> None:
        """Take the temporary name away of a file that was removed from its final one before that was durable."""
        if self._names and self._process == os.getpid():
            with self._changed:
                device_and_temporary = self._names.pop(final, None)
            if device_and_temporary is not None:
                remove_temporary(device_and_temporary[1])

    def settle(self) -> None:
        """Make all final names durable now. Temporary names stay where that fails: they are looked at by a start."""
        with self._working:
            with self._changed:
                names = self._names.copy()
            by_directory: dict[tuple[Device, Path], list[str]] = {}
            for final, (device, _) in names.items():
                by_directory.setdefault((device, Path(final).parent), []).append(final)
            for (device, directory), finals in by_directory.items():
                try:
                    self._durable.settle_all(device.root, [directory])
                except OSError:
                    durable = False
                else:
                    durable = True
                for final in finals:
                    with self._changed:
                        known = self._names.get(final)
                        if known is not names[final]:
                            continue  # removed since, or made anew
                        del self._names[final]
                    if durable:
                        remove_temporary(known[1])

    def close(self) -> None:
        """Make all final names durable and end the thread."""
        if self._process != os.getpid():
            return
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()
        self.settle()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="settle names", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None  # too many threads: the next name tries again

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._names or self._thread is not me)
                self._changed.wait_for(lambda: len(self._names) >= _BATCH or self._thread is not me, timeout=_PAUSE_S)
                if self._thread is not me:
                    return
            self.settle()
