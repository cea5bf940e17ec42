"""Devices and streams that do nothing: all work is done at once."""

import types

from . import nccl

runtime = types.SimpleNamespace(getDeviceCount=lambda: 4)


class Device:
    id = 0

    def __init__(self, number=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def __eq__(self, other):
        return isinstance(other, Device)

    def use(self):
        pass

    def synchronize(self):
        pass


class Stream:
    ptr = 0

    def __init__(self, non_blocking=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def record(self):
        pass

    def wait_event(self, event):
        pass

    def synchronize(self):
        pass


def get_current_stream():
    return Stream()
