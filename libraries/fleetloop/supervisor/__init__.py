"""A supervisor that keeps a set of processes running and leaves none behind. It knows nothing about fleetloop's
services.
"""

from fleetloop.supervisor.restart import RestartPolicy
from fleetloop.supervisor.spec import LivePolicy, ServiceSpec
from fleetloop.supervisor.state import Phase, RunState, ServiceStatus
from fleetloop.supervisor.supervisor import NotReadyError, Supervisor

__all__ = [
    "LivePolicy",
    "NotReadyError",
    "Phase",
    "RestartPolicy",
    "RunState",
    "ServiceSpec",
    "ServiceStatus",
    "Supervisor",
]
