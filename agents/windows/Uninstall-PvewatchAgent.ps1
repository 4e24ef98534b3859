<#
.SYNOPSIS
Takes the pvewatch agent away again, with the rights that its installer gave. May be repeated.
.PARAMETER Purge
The settings and the token too.
#>
[CmdletBinding()]
param([switch] $Purge)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

. (Join-Path $PSScriptRoot 'PvewatchSettings.ps1')
. (Join-Path $PSScriptRoot 'PvewatchRights.ps1')

function Remove-KnownFile {
    <#
    .SYNOPSIS
    Removes files of a folder by name, and the folder when nothing else is in it. Never by recursion: what the agent's
    account may write could hold a link to elsewhere.
    #>
    [CmdletBinding()]
    param([string] $Folder, [string[]] $Names)
    if (-not (Test-Path -LiteralPath $Folder)) {
        return
    }
    foreach ($name in $Names) {
        $file = Join-Path $Folder $name
        if (Test-Path -LiteralPath $file -PathType Leaf) {
            Remove-Item -LiteralPath $file -Force
        }
    }
    if (@(Get-ChildItem -LiteralPath $Folder -Force).Count -eq 0) {
        [System.IO.Directory]::Delete($Folder)
    }
}

function Uninstall-Agent {
    <#
    .SYNOPSIS
    The whole removal.
    #>
    [CmdletBinding()]
    param()
    Assert-Elevated
    if (Stop-AgentTask) {
        Unregister-ScheduledTask -TaskName $TaskName -Confirm:$false
    }
    if (Test-Path -LiteralPath $GrantsFile) {
        Set-Grant -Services @() -Account 'LocalService'
    }
    if ([System.Diagnostics.EventLog]::SourceExists($EventSource)) {
        [System.Diagnostics.EventLog]::DeleteEventSource($EventSource)
    }
    Remove-KnownFile -Folder $StateFolder -Names 'agent.json', 'agent.json.new', 'agent.log', 'agent.log.old'
    if ((Test-Path -LiteralPath $GrantsFile) -and (Get-Item -LiteralPath $GrantsFile).Length -eq 0) {
        Remove-Item -LiteralPath $GrantsFile -Force
    }
    if ($Purge) {
        Remove-KnownFile -Folder $PvewatchFolder -Names 'agent.conf', 'agent.token', 'ca.pem'
    }
    # Only administrators write here, so nothing in it leads elsewhere.
    if (Test-Path -LiteralPath $ProgramFolder) {
        Remove-Item -LiteralPath $ProgramFolder -Recurse -Force
    }
    Write-Output 'The agent is removed.'
}

if ($MyInvocation.InvocationName -ne '.') {
    Uninstall-Agent
}
