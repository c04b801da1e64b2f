"""One plugin operation from end to end: arguments, the call in the worker, the checks of its result, and the
library calls that it makes on the way. Knows nothing of workflows, the store or how environments are
configured.
"""

from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import Connections, LibraryCalls, SuppliedCredentials

__all__ = ["Connections", "Dispatcher", "LibraryCalls", "SuppliedCredentials"]
