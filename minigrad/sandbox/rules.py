"""Rules that the Linux kernel holds a process to, for good: calls and files that are refused.

Neither needs privileges. Where the kernel does not know them, or this processor is not in the
table, the functions say so and change nothing.

``seccomp(2)``, ``landlock(7)``.
"""

import ctypes
import errno
import os
import platform
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
#: of BPF: load a word of the call's description, compare it, end with a verdict
LOAD, EQUAL, AT_LEAST, END = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
X32 = 0x40000000

#: {machine: (its audit number, {call: number})}
CALLS = {
    "x86_64": (
        0xC000003E,
        # processes and programs; signals and the insides of others; sockets
        dict(clone=56, fork=57, vfork=58, execve=59, execveat=322)
        | dict(kill=62, tkill=200, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297, ptrace=101)
        | dict(process_vm_readv=310, process_vm_writev=311, pidfd_open=434, pidfd_getfd=438)
        | dict(socket=41, socketpair=53)
        # memory that no limit counts
        | dict(shmget=29, msgget=68, semget=64, mq_open=240, memfd_create=319, memfd_secret=447)
        | dict(add_key=248, request_key=249, keyctl=250)
        # doors into the kernel that a program of this kind never needs
        | dict(unshare=272, setns=308, mount=165, bpf=321, perf_event_open=298, userfaultfd=323)
        | dict(io_uring_setup=425, clone3=435, tgkill=234),
    ),
    "aarch64": (
        0xC00000B7,
        dict(clone=220, execve=221, execveat=281)
        | dict(kill=129, tkill=130, rt_sigqueueinfo=138, rt_tgsigqueueinfo=240, ptrace=117)
        | dict(process_vm_readv=270, process_vm_writev=271, pidfd_open=434, pidfd_getfd=438)
        | dict(socket=198, socketpair=199)
        | dict(shmget=194, msgget=186, semget=190, mq_open=180, memfd_create=279, memfd_secret=447)
        | dict(add_key=217, request_key=218, keyctl=219)
        | dict(unshare=97, setns=268, mount=40, bpf=280, perf_event_open=241, userfaultfd=282)
        | dict(io_uring_setup=425, clone3=435, tgkill=131),
    ),
}
#: not there, so that the C library takes `clone`; and allowed on oneself, as in abort()
ABSENT, OWN = "clone3", "tgkill"

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
#: how many rights the versions of Landlock know
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
NEWEST_RIGHTS = 16


def give_up_privileges():
    """No program that is run from now on gains a privilege."""
    _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def refuse_calls():
    """Refuse system calls that a function of NumPy never makes; whether the kernel obeys.

    New processes, threads and programs, signals to others, sockets, memory outside all limits.
    Privileges must have been given up.
    """
    if platform.machine() not in CALLS:
        return False
    audit, calls = CALLS[platform.machine()]
    refuse = _statement(END, ERRNO | errno.EPERM)
    program = [
        _statement(LOAD, ARCHITECTURE),
        _statement(EQUAL, audit, 1, 0),
        refuse,
        _statement(LOAD, NUMBER),
        _statement(AT_LEAST, X32, 0, 1),
        refuse,
    ]
    for name, number in calls.items():
        if name == ABSENT:
            program += [_statement(EQUAL, number, 0, 1), _statement(END, ERRNO | errno.ENOSYS)]
        elif name != OWN:
            program += [_statement(EQUAL, number, 0, 1), refuse]
    program += [
        _statement(EQUAL, calls[OWN], 0, 3),
        _statement(LOAD, FIRST_ARGUMENT),
        _statement(EQUAL, os.getpid(), 1, 0),
        refuse,
        _statement(END, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    whole = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    return _libc().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, whole, 0, 0) == 0


def _statement(code, value, if_so=0, if_not=0):
    return struct.pack("HBBI", code, if_so, if_not, value)


def refuse_files(readable):
    """Refuse to open, make or remove any file but to read some; whether the kernel obeys.

    Args:
        readable: files, and folders with all that is in them.
    """
    libc = _libc()
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    handled = struct.pack("Q", (1 << RIGHTS.get(version, NEWEST_RIGHTS)) - 1)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    if rules < 0:
        return False
    try:
        for path in filter(os.path.exists, readable):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = READ_FILE | READ_FOLDER if os.path.isdir(path) else READ_FILE
            rule = struct.pack("=Qi", rights, place)
            libc.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
            os.close(place)
        return libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _libc():
    return ctypes.CDLL(None, use_errno=True)
