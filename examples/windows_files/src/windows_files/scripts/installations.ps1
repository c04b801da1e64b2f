# Prints each Robocopy on the PATH as {"path", "version"}.
foreach ($command in Get-Command robocopy.exe -CommandType Application -ErrorAction SilentlyContinue) {
    $version = $command.FileVersionInfo
    @{
        path = $command.Path
        version = '{0}.{1}.{2}' -f $version.FileMajorPart, $version.FileMinorPart, $version.FileBuildPart
    } | ConvertTo-Json -Compress
}
exit 0
