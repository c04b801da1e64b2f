"""What is asked of a Windows host once a connection, and how the answer reads. Pure."""

from __future__ import annotations

from dlpx_remote.transports.base import ShellFacts

SCRIPT = r"""
$windows = Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$version = [Environment]::OSVersion.Version
$name = [string]$windows.ProductName
if ($version.Build -ge 22000) { $name = $name -replace '^Windows 10', 'Windows 11' }
"operating_system=$name"
"kernel=Windows $($version.Major).$($version.Minor).$($version.Build)"
"architecture=$env:PROCESSOR_ARCHITECTURE"
"hostname=$env:COMPUTERNAME"
"user=$([Security.Principal.WindowsIdentity]::GetCurrent().Name)"
"home=$env:USERPROFILE"
"shell=PowerShell $($PSVersionTable.PSVersion)"
$names = 'powershell.exe', 'pwsh.exe', 'robocopy.exe'
Get-Command $names -CommandType Application -ErrorAction SilentlyContinue | ForEach-Object {
    "tool.$([IO.Path]::GetFileNameWithoutExtension($_.Name).ToLower())=$($_.Path)"
}
exit 0
"""
"""Prints everything of ``ShellFacts`` as ``name=value`` lines; needs PowerShell 3.0 and no rights."""

_ARCHITECTURES = {"AMD64": "x86_64", "ARM64": "aarch64"}


def parse_facts(login: str, output: bytes) -> ShellFacts:
    """What the script printed as facts; what is missing keeps its default.

    Args:
        login: the login name, where the host does not say.
        output: of the script.
    """
    values: dict[str, str] = {}
    tools: dict[str, str] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("tool."):
            tools.setdefault(name.removeprefix("tool."), value)  # the first on the PATH
        else:
            values[name] = value
    architecture = values.get("architecture", "")
    return ShellFacts(
        user=values.get("user") or login,
        home=values.get("home", ""),
        shell=values.get("shell", ""),
        tools=tools,
        operating_system=values.get("operating_system", ""),
        kernel=values.get("kernel", ""),
        architecture=_ARCHITECTURES.get(architecture.upper(), architecture),
        hostname=values.get("hostname", ""),
    )
