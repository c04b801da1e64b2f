# Prints each directory with a marker file as {"path", "name", "note"}. Four levels below the roots of local disks,
# without the directories of Windows itself. Needs PowerShell 5.0 (Get-ChildItem -Depth).
$own = 'Windows', 'Program Files', 'Program Files (x86)', 'ProgramData', 'Recovery', 'System Volume Information', '$Recycle.Bin'
foreach ($disk in [IO.DriveInfo]::GetDrives() | Where-Object { $_.DriveType -eq 'Fixed' -and $_.IsReady }) {
    $tops = Get-ChildItem -LiteralPath $disk.Name -Directory -Force -ErrorAction SilentlyContinue |
        Where-Object { $own -notcontains $_.Name }
    foreach ($top in $tops) {
        $markers = Get-ChildItem -LiteralPath $top.FullName -Filter .dlpx-source -Recurse -Depth 3 -File -Force -ErrorAction SilentlyContinue
        foreach ($marker in $markers) {
            $note = ''
            $name = ''
            try { $name = [string](Get-Content -LiteralPath $marker.FullName -TotalCount 1 -Encoding UTF8 -ErrorAction Stop) }
            catch { $note = $_.Exception.Message }
            @{ path = $marker.DirectoryName; name = $name; note = $note } | ConvertTo-Json -Compress
        }
    }
}
exit 0
