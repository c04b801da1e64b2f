"""The faults that a Windows host answers with: their codes, and the words that come with them.

Values only; how a fault is written is in ``soap``. Codes are those of the Windows SDK's ``wsmerror.h``, or of
``winerror.h`` where a shell's own provider failed; subcodes and texts follow MS-WSMV and recordings of real
hosts (the folder's README says which).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"


@dataclass(frozen=True)
class Fault:
    """What goes into ``s:Fault``.

    Attributes:
        code: the ``Code`` of ``f:WSManFault``; None leaves that element out.
        subcode: ``w:…``, ``a:…`` or ``s:…`` name; empty for none.
        reason: text for people.
        message: text inside ``f:WSManFault``; empty for the same as ``reason``.
        detail: last part of the ``w:FaultDetail`` address; empty for none.
        by_receiver: the fault is the server's (``s:Receiver``), not the sender's.
        by_provider: the shell's provider (``winrscmd.dll``) reported it.
        as_wmi: told in a ``p:MSFT_WmiError`` instead of ``f:WSManFault``, as newer Windows does for quotas.
    """

    code: int | None
    subcode: str
    reason: str
    message: str = ""
    detail: str = ""
    by_receiver: bool = False
    by_provider: bool = False
    as_wmi: bool = False

    @property
    def detail_uri(self) -> str:
        """The whole address of ``w:FaultDetail``; empty for none."""
        return _DETAIL + self.detail if self.detail else ""


class Refused(Exception):
    """The request is answered with ``fault``."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


_SERVICE = "The WS-Management service cannot process the request"

OPERATION_TIMEOUT = Fault(
    2150858793,  # ERROR_WSMAN_OPERATION_TIMEDOUT
    "w:TimedOut",
    "The WS-Management service cannot complete the operation within the time specified in "
    "OperationTimeout.  ",
    by_receiver=True,
)
SHELL_QUOTA = Fault(
    2150859173,  # 0x803381A5 ERROR_WSMAN_QUOTA_MAX_SHELLS
    "w:QuotaLimit",
    f"{_SERVICE}. The maximum number of concurrent shells for this user has been exceeded. "
    "Close existing shells or raise the quota for this user. ",
    f"{_SERVICE}. This user is allowed a maximum number of {{limit}} concurrent shells, which has been "
    "exceeded. Close existing shells or raise the quota for this user. ",
    as_wmi=True,
)
OPERATION_QUOTA = Fault(
    2150859174,  # 0x803381A6 ERROR_WSMAN_QUOTA_MAX_OPERATIONS
    "w:QuotaLimit",
    f"{_SERVICE}. The maximum number of concurrent operations for this user has been exceeded. "
    "Close existing operations for this user, or raise the quota for this user. ",
    as_wmi=True,
)
COMMAND_QUOTA = Fault(
    2150859241,  # 0x803381E9 ERROR_WSMAN_QUOTA_MAX_COMMANDS_PER_SHELL_PPQ
    "w:QuotaLimit",
    f"{_SERVICE}. The maximum number of concurrent commands per shell has been exceeded. Retry the request "
    "later or raise the quota for concurrent commands per shell. ",
    as_wmi=True,
)
USER_QUOTA = Fault(
    2150859175,  # 0x803381A7 ERROR_WSMAN_QUOTA_USER
    "w:QuotaLimit",
    f"{_SERVICE}. The user load quota of 1000 requests per 2 seconds has been exceeded. Send future requests "
    "at a slower rate or raise the quota for this user. ",
    as_wmi=True,
)
BUSY = Fault(
    170,  # ERROR_BUSY
    "w:InternalError",
    "The requested resource is in use. ",
    by_receiver=True,
    by_provider=True,
)
ACCESS_DENIED = Fault(5, "w:AccessDenied", "Access is denied. ")
SHELL_NOT_FOUND = Fault(
    2150858843,  # 0x8033805B ERROR_WSMAN_UNEXPECTED_SELECTORS
    "w:InvalidSelectors",
    f"{_SERVICE} because the request contained invalid selectors for the resource. ",
    "The request for the Windows Remote Shell with ShellId {shell} failed because the shell was not found "
    "on the server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on "
    "the server. Provide the correct ShellId or create a new shell and retry the operation. ",
    "UnexpectedSelectors",
)
COMMAND_NOT_FOUND = replace(
    SHELL_NOT_FOUND,
    message="The Windows Remote Shell received a request to perform an operation on a command identifier "
    "that does not exist. Either the command has completed execution or the client specified an invalid "
    "command identifier. ",
)
SELECTOR_MISSING = Fault(
    2150858842,  # ERROR_WSMAN_INSUFFCIENT_SELECTORS
    "w:InvalidSelectors",
    f"{_SERVICE} because the request contained invalid selectors for the resource. ",
    "The Windows Remote Shell cannot process the request because it requires the following selector: "
    "ShellId. ",
    "InsufficientSelectors",
)
WRONG_PARAMETER = Fault(
    87,  # ERROR_INVALID_PARAMETER
    "w:InvalidParameter",
    "The parameter is incorrect. ",
    detail="InvalidValue",
    by_provider=True,
)
INPUT_CLOSED = Fault(
    232,  # ERROR_NO_DATA
    "w:InternalError",
    "The pipe is being closed. ",
    by_receiver=True,
    by_provider=True,
)
FILE_NOT_FOUND = Fault(
    2147942402,  # 0x80070002, ERROR_FILE_NOT_FOUND as a result
    "w:InternalError",
    "The system cannot find the file specified. ",
    by_receiver=True,
    by_provider=True,
)
ABORTED = Fault(
    995,  # ERROR_OPERATION_ABORTED
    "w:InternalError",
    "The I/O operation has been aborted because of either a thread exit or an application request. ",
    by_receiver=True,
    by_provider=True,
)
UNKNOWN_ACTION = Fault(
    2150858753,  # ERROR_WSMAN_INVALID_ACTIONURI
    "a:ActionNotSupported",
    f"{_SERVICE} because the WS-Addressing Action URI in the request is not supported. ",
)
UNKNOWN_RESOURCE = Fault(
    2150858811,  # ERROR_WSMAN_INVALID_RESOURCE_URI
    "a:DestinationUnreachable",
    f"{_SERVICE}. The resource URI is missing or it has an incorrect format. ",
    detail="InvalidResourceURI",
)
HEADER_MISSING = Fault(
    2150858769,  # ERROR_WSMAN_MESSAGE_INFORMATION_HEADER_REQUIRED
    "a:MessageInformationHeaderRequired",
    f"{_SERVICE} because a required WS-Addressing header is missing. ",
)
BAD_XML = Fault(
    2150858819,  # ERROR_WSMAN_INVALID_XML
    "w:SchemaValidationError",
    f"{_SERVICE} because the XML is invalid. ",
)
NOT_UNDERSTOOD = Fault(
    2150858768,  # ERROR_WSMAN_SOAP_FAULT_MUST_UNDERSTAND
    "",
    f"{_SERVICE}: a SOAP header in it is marked as mustUnderstand and is not supported. ",
)
REPLY_TOO_LARGE = Fault(
    2150858824,  # ERROR_WSMAN_MAX_ENVELOPE_SIZE_EXCEEDED
    "w:EncodingLimit",
    f"{_SERVICE}: the reply does not fit into the MaxEnvelopeSize of the request. ",
    detail="MaxEnvelopeSizeExceeded",
)

_QUOTAS = {
    "shell-quota": replace(SHELL_QUOTA, message=SHELL_QUOTA.message.format(limit=30)),
    "operation-quota": OPERATION_QUOTA,
    "command-quota": COMMAND_QUOTA,
    "user-quota": USER_QUOTA,
}

BY_NAME = {
    "operation-timeout": OPERATION_TIMEOUT,
    **_QUOTAS,
    **{f"{name}-wsman": replace(fault, as_wmi=False) for name, fault in _QUOTAS.items()},
    "busy": BUSY,
    "access-denied": ACCESS_DENIED,
    "shell-not-found": replace(SHELL_NOT_FOUND, message=SHELL_NOT_FOUND.message.format(shell="")),
    "command-not-found": COMMAND_NOT_FOUND,
    "file-not-found": FILE_NOT_FOUND,
    "aborted": ABORTED,
}
"""The faults that can be asked for by name; ``-wsman`` is the older form of a quota's."""
