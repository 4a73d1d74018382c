"""Every error that a package raises to others.

    ShazimdError                       exit status of shazimctl, code on the wire
    ├── UsageError                     2   usage
    ├── ConfigError                    2   bad_config
    ├── DaemonUnreachable              3   unreachable
    ├── Forbidden                      3   forbidden         for admins of the daemon alone
    ├── BadInput                       4   bad_input
    │   ├── NotAnImage                 4   not_an_image      broken, or in a format that is not decoded
    │   ├── TooLarge                   4   too_large         more bytes or pixels than the limits allow
    │   ├── NotFound                   4   not_found         no such file, root, model or alert
    │   └── Unreadable                 4   unreadable        permission, vanished, changed while read, EIO
    └── InternalError                  5   internal
        ├── Unavailable                5   unavailable       starting, draining or too busy; ask again later
        ├── NotReady                   5   not_ready         a directory is missing or read-only, which may pass
        ├── WorkerFailed               5   worker_failed     the decoder crashed, hung or ran out of memory
        │   └── WorkerLost             5   worker_lost       killed from outside or not started; not the picture
        ├── ClusterError               5   cluster_error     the database of the cluster can't be used at present
        │   └── HostTaken              5   host_taken        another machine has this host's name
        ├── ModelError                 5   model_error       a model can't be fetched, converted or run
        ├── StoreError                 5   store_error
        │   ├── StoreDamaged           5   store_damaged     refused, never overwritten
        │   └── StoreFull              5   store_full        the disk or quota is full; try again later
        └── WatchError                 5   watch_error

Each package translates foreign exceptions in a single place and keeps their cause. A message names the thing, the
value found and the value expected.
"""

from __future__ import annotations


class ShazimdError(Exception):
    """Base of all errors raised on purpose."""

    code = "error"
    exit_status = 5

    @property
    def message(self) -> str:
        return str(self)


class UsageError(ShazimdError):
    code = "usage"
    exit_status = 2


class ConfigError(ShazimdError):
    code = "bad_config"
    exit_status = 2


class DaemonUnreachable(ShazimdError):
    code = "unreachable"
    exit_status = 3


class Forbidden(ShazimdError):
    code = "forbidden"
    exit_status = 3


class BadInput(ShazimdError):
    code = "bad_input"
    exit_status = 4


class NotAnImage(BadInput):
    code = "not_an_image"


class TooLarge(BadInput):
    code = "too_large"


class NotFound(BadInput):
    code = "not_found"


class Unreadable(BadInput):
    code = "unreadable"


class InternalError(ShazimdError):
    code = "internal"


class Unavailable(InternalError):
    code = "unavailable"


class NotReady(InternalError):
    code = "not_ready"


class WorkerFailed(InternalError):
    code = "worker_failed"


class WorkerLost(WorkerFailed):
    code = "worker_lost"


class ModelError(InternalError):
    code = "model_error"


class ClusterError(InternalError):
    code = "cluster_error"


class HostTaken(ClusterError):
    code = "host_taken"


class StoreError(InternalError):
    code = "store_error"


class StoreDamaged(StoreError):
    code = "store_damaged"


class StoreFull(StoreError):
    code = "store_full"


class WatchError(InternalError):
    code = "watch_error"
