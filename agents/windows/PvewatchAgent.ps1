<#
.SYNOPSIS
Tells the pvewatch exporter that the inside of this Windows guest is alive, and what only the inside knows.
.DESCRIPTION
For Windows PowerShell 5.1 and PowerShell 7. The wire format is agents/heartbeat.schema.json. Beside this file lie
PvewatchFields.ps1 (what is measured), PvewatchServices.ps1 (what watches and starts services), PvewatchSettings.ps1
(settings, token, counters, events) and PvewatchSending.ps1. Without a switch it sends a heartbeat every INTERVAL seconds
until ended. Dot-sourcing this file only defines its functions.
.PARAMETER Once
Send one heartbeat; exit 0 when it was taken, 1 when not.
.PARAMETER DryRun
Print the message, send nothing, start no service.
.PARAMETER Config
The settings, C:\ProgramData\pvewatch\agent.conf if there; agent.conf.example lists them.
#>
[CmdletBinding()]
param(
    [switch] $Once,
    [switch] $DryRun,
    [string] $Config = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$PvewatchAgentVersion = '0.1.0'

. (Join-Path $PSScriptRoot 'PvewatchFields.ps1')
. (Join-Path $PSScriptRoot 'PvewatchServices.ps1')
. (Join-Path $PSScriptRoot 'PvewatchSettings.ps1')
. (Join-Path $PSScriptRoot 'PvewatchSending.ps1')

function Get-ConfigPath {
    <#
    .SYNOPSIS
    The settings file that was asked for, else the usual one if it is there, else nothing.
    #>
    [CmdletBinding()]
    param([string] $Asked)
    $usual = Join-Path $PvewatchFolder 'agent.conf'
    if ($Asked -ne '') {
        # .NET reads relative to the folder of the process, PowerShell to its own.
        (Resolve-Path -LiteralPath $Asked).ProviderPath
    } elseif (Test-Path -LiteralPath $usual -PathType Leaf) {
        $usual
    } else {
        ''
    }
}

function New-AgentSession {
    <#
    .SYNOPSIS
    What one process of the agent knows: settings, the boot, counters. Throws when the settings are wrong or CIM does
    not say which boot this is.
    #>
    [CmdletBinding()]
    param([string] $Config)
    $settings = Get-AgentSettings -Path (Get-ConfigPath -Asked $Config)
    $bootId = Get-BootIdField
    @{
        Settings = $settings
        BootId = $bootId
        UptimeAtStart = Get-UptimeAtStart
        Clock = [System.Diagnostics.Stopwatch]::StartNew()
        CpuBefore = Get-CpuCounter
        Services = @()
        State = Get-EmptyState
        StateFailed = $false
        Token = ''
        Authority = $null
    }
}

function Initialize-Sending {
    <#
    .SYNOPSIS
    Reads what sending needs and a dry run does not: addresses, token, authority, counters. Throws when one is wrong.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $settings = $Session.Settings
    if ($settings.Urls.Count -eq 0) {
        throw "URL: is not set; give the exporter's heartbeat address, such as https://pvewatch.example:9223"
    }
    Initialize-Tls
    $Session.Token = Read-AgentToken -Path $settings.TokenFile
    $Session.Authority = Get-Authority -Path $settings.CaFile
    $Session.State = Read-AgentState -Path $settings.StateFile -BootId $Session.BootId
    if ($settings.AllowHttp -and @($settings.Urls | Where-Object { $_ -like 'http:*' }).Count -gt 0) {
        Write-AgentEvent -Id 402 -EntryType Warning -Message 'ALLOW_HTTP=yes: the token is sent unencrypted'
    }
}

function Invoke-AgentCycle {
    <#
    .SYNOPSIS
    Looks after the services, sends one heartbeat, remembers the counters. Returns whether the heartbeat was taken.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    Update-WatchedService -Session $Session
    $taken = Send-WithRetry -Session $Session
    $Session.CpuBefore = Get-CpuCounter
    Save-AgentState -Session $Session
    $taken
}

function Invoke-AgentLoop {
    <#
    .SYNOPSIS
    Sends every INTERVAL seconds, from a random moment within the first interval on, so that guests that boot together
    do not speak together for ever. Does not return.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $interval = 1000 * $Session.Settings.Interval
    $offset = 1000 * $Session.Settings.InitialOffset
    if ($offset -lt 0) {
        $offset = Get-Random -Minimum 0 -Maximum $interval
    }
    Start-Sleep -Milliseconds $offset
    while ($true) {
        $begun = [System.Diagnostics.Stopwatch]::StartNew()
        try {
            $null = Invoke-AgentCycle -Session $Session
        } catch {
            # Whatever it was: the next heartbeat may work, and no agent at all would look like a dead guest.
            $Session.State.Missed++
            Write-AgentEvent -Id 500 -EntryType Error -Message "a heartbeat failed: $($_.Exception.Message)"
        }
        Start-Sleep -Milliseconds ([int] [System.Math]::Max(1000, $interval - $begun.Elapsed.TotalMilliseconds))
    }
}

function Invoke-Agent {
    <#
    .SYNOPSIS
    The whole program. Returns the exit code, after the message in a dry run: 0, 1 when a heartbeat was not taken, 2
    when the settings are wrong.
    #>
    [CmdletBinding()]
    param([switch] $Once, [switch] $DryRun, [string] $Config)
    try {
        $session = New-AgentSession -Config $Config
        if ($Once -or $DryRun) {
            # A process that has no former reading of the processors' counters.
            Start-Sleep -Seconds 1
        }
        if ($DryRun) {
            Update-WatchedService -Session $session -ReportOnly
            Get-AgentPayload -Session $session
            return 0
        }
        Initialize-Sending -Session $session
    } catch {
        Write-AgentEvent -Id 400 -EntryType Error -Message "the agent cannot start: $($_.Exception.Message)"
        return 2
    }
    if ($Once) {
        if (Invoke-AgentCycle -Session $session) {
            return 0
        }
        return 1
    }
    Write-AgentEvent -Id 100 -EntryType Information -Message (
        "pvewatch-agent $PvewatchAgentVersion sends every $($session.Settings.Interval) s to $($session.Settings.Urls -join ' ')")
    Invoke-AgentLoop -Session $session
}

if ($MyInvocation.InvocationName -ne '.') {
    $said = @(Invoke-Agent -Once:$Once -DryRun:$DryRun -Config $Config)
    if ($said.Count -gt 1) {
        Write-Output $said[0]
    }
    exit $said[-1]
}
