"""Walls around this process, put up from inside before it runs anybody's code.

Linux namespaces, where the kernel allows them: a file system of its own that holds the Python
library, NumPy and the one folder to be judged, no network, no view of other processes; and, with
or without them, limits that no later code can raise. Nothing here needs a compiled helper: the
calls go to libc by ctypes.

``namespaces(7)``, ``pivot_root(2)``, ``setrlimit(2)``.
"""

import ctypes
import os
import signal
import sys

if __package__:
    from minigrad.sandbox import rules
else:
    import rules

TIERS = {
    "namespaces": "own file system, network, processes (Linux namespaces); limits; own user",
    "user": "limits; own user; files and network refused by the kernel if it can, else by Python",
    "process": "limits; files and network refused by the kernel if it can, else by Python",
    "open": "limits only: for code that its owner runs",
}

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
SCRATCH = "/tmp"
SCRATCH_SIZE = "size=16m,nr_inodes=1k,mode=1777"
#: what a process may need to read in mid-run, beside Python's own folders
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", os.devnull)


def enter(settings):
    """Put this process behind the walls of ``settings["tier"]``; a failure raises OSError.

    Settings: ``tier``; ``uid`` to become, or None; ``limits`` (`limit`); for namespaces also
    ``root``, an empty folder to mount on; ``library`` and ``shown``, (source, target) pairs to be
    seen, read only; and ``hidden``, folders of the library to be covered first.
    """
    tier = settings["tier"]
    if tier == "namespaces":
        _enter_namespaces(**{key: settings[key] for key in ("root", "library", "hidden", "shown")})
    if settings["uid"] is not None:
        os.setgroups([])
        os.setresgid(*[settings["uid"]] * 3)
        os.setresuid(*[settings["uid"]] * 3)
    if tier == "namespaces":
        _drop_capabilities()
    os.environ.clear()
    if tier != "open":
        os.chdir(SCRATCH if os.path.isdir(SCRATCH) else os.path.abspath(os.sep))
    limit(**settings["limits"])
    if tier != "open":
        _hold_to_rules(tier, settings["student"])


def _hold_to_rules(tier, student):
    """Rules beside the walls, and in place of those that there are none of in a tier."""
    readable = [student["folder"], *filter(None, [student["given"], *sys.path])]
    if sys.platform == "linux":
        # Another user, and a thread that ends, would undo an earlier wish to end with the parent.
        _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        rules.give_up_privileges()
        if tier != "namespaces":
            rules.refuse_files([*readable, *SYSTEM])
        rules.refuse_calls()
    if tier != "namespaces":
        _refuse_by_audit(readable)


def limit(seconds, memory, file_size, files, processes):
    """Limits for this process that it can never raise: processor seconds, bytes, counts."""
    try:
        import resource
    except ImportError:  # Windows has none; the parent's clock remains
        return
    wanted = [
        (resource.RLIMIT_CPU, seconds, seconds),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, file_size, file_size),
        (resource.RLIMIT_NOFILE, files, files),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    for what, soft, hard in wanted:
        _, most = resource.getrlimit(what)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(what, (soft, hard))
        except (ValueError, OSError):
            # macOS knows RLIMIT_AS and does not take it.
            if sys.platform == "linux":
                raise


def _enter_namespaces(root, library, hidden, shown):
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    if user:
        flags |= CLONE_NEWUSER
    _check(_libc().unshare(flags), "unshare")
    if user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    child = os.fork()
    if child:
        _stand_guard(child)
    _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    # First of all, since what is to be seen may lie in there.
    os.makedirs(root + SCRATCH, exist_ok=True)
    _mount("tmpfs", root + SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, SCRATCH_SIZE)
    for source, target in library:
        _show(source, root + target)
    for folder in hidden:
        if os.path.isdir(root + folder):
            _mount("tmpfs", root + folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for source, target in shown:
        _show(source, root + target)
    _mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    _check(_libc().pivot_root(b".", b"."), "pivot_root")
    _check(_libc().umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def _stand_guard(child):
    """Outside the namespaces: wait for the child, end it when told to, pass on how it ended."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0), "prctl")
    # With these left open, the parent would not see that the child has gone.
    os.closerange(0, 64)
    _, status = os.waitpid(child, 0)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _show(source, target):
    """Let a file, folder or link of the old file system appear in the new one, read only."""
    if os.path.islink(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, None, MS_BIND | MS_REC)
    # A bind mount keeps the flags of where it comes from; those set there may not be taken off.
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    device = not os.path.isdir(source) and source.startswith("/dev/")
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | (0 if device else MS_RDONLY | MS_NODEV)
    _mount(None, target, None, flags | kept)


def _drop_capabilities():
    """No privilege remains."""
    for capability in range(LAST_CAPABILITY + 1):
        _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc().capset(header, nothing), "capset")


REFUSED_EVENTS = (
    *("socket.", "subprocess.", "ctypes.", "shutil.", "os.system", "os.fork", "os.exec"),
    *("os.spawn", "os.posix_spawn", "os.kill", "os.symlink", "os.link", "os.remove", "os.rename"),
    *("os.rmdir", "os.chmod", "os.truncate", "os.putenv", "signal.pthread_kill", "os.mkdir"),
)


def _refuse_by_audit(folders):
    """Refuse files outside some folders, and the network: a fence for Python code, not a wall."""
    roots = [os.path.realpath(folder) for folder in folders]

    def inside(path):
        real = os.path.realpath(os.fsdecode(path))
        return any(real == root or real.startswith(root + os.sep) for root in roots)

    def hook(event, arguments):
        if event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, (str, bytes)) and not inside(path) and path != os.devnull:
                raise PermissionError(f"{os.fsdecode(path)} is not to be opened here")
        elif event.startswith(REFUSED_EVENTS):
            raise PermissionError(f"{event} is refused here")

    sys.addaudithook(hook)


def _libc():
    if not _LOADED:
        _LOADED.append(ctypes.CDLL(None, use_errno=True))
    return _LOADED[0]


_LOADED = []


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source, target, kind, flags, data=None):
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    source, target, kind, data = encoded
    result = _libc().mount(source, target, kind, ctypes.c_ulong(flags), data)
    _check(result, f"mount {os.fsdecode(source or b'')} on {os.fsdecode(target)}")


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
