"""Let the n-th write, read, fsync or rename below a folder fail, as a failing disk does."""

import builtins
import io
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

KINDS = ("write", "read", "fsync", "rename")


class FailingDisk:
    """Count the operations of a kind below `folder`; from the `first` on all fail with `number`."""

    def __init__(self, folder, kind, first, number):
        self.folder, self.kind, self.first, self.number = Path(folder), kind, first, number
        self.count = 0

    @property
    def failed(self):
        return self.count >= self.first

    def operation(self, kind, name):
        if kind == self.kind:
            self.count += 1
            if self.failed:
                raise OSError(self.number, os.strerror(self.number), str(name))

    def holds(self, name):
        return isinstance(name, (str, Path)) and Path(name).is_relative_to(self.folder)

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        if not self.holds(file):
            return OPEN(file, mode, buffering, encoding, errors, newline, **more)
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""), **more)
        if buffering == 0:
            return raw
        if "+" in mode:
            buffered = io.BufferedRandom(raw)
        else:
            buffered = (io.BufferedReader if "r" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _Raw(io.FileIO):
    def __init__(self, disk, file, mode, **more):
        super().__init__(file, mode, **more)
        self.disk = disk

    def write(self, data):
        self.disk.operation("write", self.name)
        return super().write(data)

    def readinto(self, buffer):
        self.disk.operation("read", self.name)
        return super().readinto(buffer)

    def readall(self):
        self.disk.operation("read", self.name)
        return super().readall()


OPEN = io.open


@contextmanager
def failing_disk(folder, kind, first, number):
    disk = FailingDisk(folder, kind, first, number)
    fsync, replace = os.fsync, os.replace

    def failing_fsync(file):
        disk.operation("fsync", file)
        fsync(file)

    def failing_replace(source, target, **more):
        if disk.holds(target):
            disk.operation("rename", source)
        replace(source, target, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", disk.open)
        patch.setattr(builtins, "open", disk.open)
        patch.setattr(os, "fsync", failing_fsync)
        patch.setattr(os, "replace", failing_replace)
        yield disk
