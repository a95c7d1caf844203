"""Sandbox of the decode worker: the kernel denies the process every new file and socket. Source: landlock(7)."""

from __future__ import annotations

import ctypes

_SYS_CREATE, _SYS_RESTRICT_SELF = 444, 446  # the same on every architecture
_CREATE_VERSION = 1  # returns the kernel's Landlock version instead of a ruleset
_PR_SET_NO_NEW_PRIVS = 38
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # access rights per version; 16 from version 5
_TCP, _OUTER_SIGNALS_AND_SOCKETS = 0b11, 0b11

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`: accesses that are denied unless a rule allows them; we add no rule."""

    _fields_ = (
        ("file_system", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def restrict_process() -> bool:
    """Deny this process every new file and TCP port; descriptors that are open stay usable.

    Returns False if the kernel has no Landlock or a seccomp filter blocks it.
    """
    version = _libc.syscall(_SYS_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_VERSION))
    if version < 1:
        return False
    rules = _Ruleset(
        file_system=(1 << _FILE_RIGHTS.get(version, 16)) - 1,
        network=_TCP if version >= 4 else 0,
        scoped=_OUTER_SIGNALS_AND_SOCKETS if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # struct size per version
    ruleset = _libc.syscall(
        _SYS_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if ruleset < 0 or _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(_libc.syscall(_SYS_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
