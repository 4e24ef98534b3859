# Watched services, and their repair: a service that failed is started again, with a limit. One that a person stopped has
# not failed and is left alone. Dot-sourced by PvewatchAgent.ps1.

# A start that takes longer counts as failed for now. Short, as the heartbeat waits for it.
$StartSeconds = 15
# What fails right after its start has not been repaired.
$SettleSeconds = 2

function ConvertTo-ServiceState {
    <#
    .SYNOPSIS
    The wire format's word for a state and exit code of Win32_Service. A service that stops cleanly, as when a person
    stops it, has exit code 0; one that was not started since the boot has 1077. Any other code is a failure, such as
    1067 when its process ended unexpectedly.
    #>
    [CmdletBinding()]
    param([string] $State, [long] $ExitCode)
    switch ($State) {
        'Running' {
            'running'
        }
        'Start Pending' {
            'starting'
        }
        'Continue Pending' {
            'starting'
        }
        'Stop Pending' {
            'stopping'
        }
        'Pause Pending' {
            'stopping'
        }
        'Paused' {
            'stopped'
        }
        'Stopped' {
            if ($ExitCode -eq 0 -or $ExitCode -eq 1077) {
                'stopped'
            } else {
                'failed'
            }
        }
        default {
            'unknown'
        }
    }
}

function Get-WatchedService {
    <#
    .SYNOPSIS
    The CIM instance of a service, nothing when Windows has none of that name. Throws when CIM does not answer.
    #>
    [CmdletBinding()]
    param([string] $Name)
    # Settings let no quote or backslash into a name.
    Get-CimAnswer -ClassName Win32_Service -Filter "Name = '$Name'"
}

function Get-WatchedServiceState {
    <#
    .SYNOPSIS
    running, starting, stopping, stopped, failed, missing or unknown.
    #>
    [CmdletBinding()]
    param([string] $Name)
    try {
        $service = Get-WatchedService -Name $Name
        if ($null -eq $service) {
            'missing'
        } else {
            ConvertTo-ServiceState -State $service.State -ExitCode ([long] $service.ExitCode)
        }
    } catch {
        'unknown'
    }
}

function Update-WatchedService {
    <#
    .SYNOPSIS
    Looks at each watched service once, and starts at most one that failed: a heartbeat must not wait for many.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session, [switch] $ReportOnly)
    $settings = $Session.Settings
    $mayRepair = -not $ReportOnly
    $asked = [System.Diagnostics.Stopwatch]::StartNew()
    $Session.Services = @(foreach ($name in $settings.Services) {
            $state = 'unknown'
            if ($asked.Elapsed.TotalSeconds -lt $CimBudgetSeconds) {
                $state = Get-WatchedServiceState -Name $name
            }
            if ($mayRepair -and $state -eq 'failed' -and $settings.RestartServices -contains $name) {
                if (Repair-WatchedService -Session $Session -Name $name) {
                    $mayRepair = $false
                    $state = Get-WatchedServiceState -Name $name
                }
            }
            $restarts = [long] 0
            if ($Session.State.Restarts.ContainsKey($name)) {
                $restarts = $Session.State.Restarts[$name]
            }
            @{ Name = $name; State = $state; Restarts = $restarts }
        })
}

function Measure-Repair {
    <#
    .SYNOPSIS
    How often something (restarted, given_up) happened to a service within the window, by the uptime.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session, [string] $Name, [string] $What)
    $since = (Get-UptimeField $Session) - $Session.Settings.RestartWindow
    @($Session.State.Repairs | Where-Object {
            $_.Service -eq $Name -and $_.What -eq $What -and $_.At -ge $since
        }).Count
}

function Add-Repair {
    <#
    .SYNOPSIS
    Remembers what happened to a service, by the uptime, which nobody can set back; forgets what is older than the
    window.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session, [string] $Name, [string] $What, [string] $Outcome)
    $now = Get-UptimeField $Session
    $since = $now - $Session.Settings.RestartWindow
    $state = $Session.State
    $state.Repairs = @($state.Repairs | Where-Object { $_.At -ge $since }) + @(
        @{ At = $now; Service = $Name; What = $What }
    )
    $state.LastRepair = @{ Time = Get-UnixSeconds; Service = $Name; Outcome = $Outcome }
    if ($What -eq 'restarted') {
        $before = [long] 0
        if ($state.Restarts.ContainsKey($Name)) {
            $before = $state.Restarts[$Name]
        }
        $state.Restarts[$Name] = $before + 1
    }
    Save-AgentState -Session $Session
}

function Repair-WatchedService {
    <#
    .SYNOPSIS
    Starts a failed service, or gives up when its starts within the window are used up. Returns whether it tried.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session, [string] $Name)
    $limit = $Session.Settings.RestartLimit
    $window = $Session.Settings.RestartWindow
    $used = Measure-Repair -Session $Session -Name $Name -What 'restarted'
    if ($used -ge $limit) {
        # Said once, not at each pass.
        if ((Measure-Repair -Session $Session -Name $Name -What 'given_up') -eq 0) {
            Write-AgentEvent -Id 303 -EntryType Error -Message (
                "$Name has failed again after $used starts within $window s: it is left alone now")
            Add-Repair -Session $Session -Name $Name -What 'given_up' -Outcome 'given_up'
        }
        return $false
    }
    Write-AgentEvent -Id 300 -EntryType Warning -Message (
        "$Name has failed: start $($used + 1) of at most $limit within $window s")
    $outcome = 'failed'
    if (Start-WatchedService -Name $Name) {
        $outcome = 'succeeded'
        Write-AgentEvent -Id 301 -EntryType Information -Message "$Name runs again"
    }
    Add-Repair -Session $Session -Name $Name -What 'restarted' -Outcome $outcome
    return $true
}

function Start-WatchedService {
    <#
    .SYNOPSIS
    Starts a service and returns whether it runs then. Needs the right to start it, which the installer grants.
    #>
    [CmdletBinding()]
    param([string] $Name)
    try {
        $service = Get-WatchedService -Name $Name
        $answer = Invoke-CimMethod -InputObject $service -MethodName StartService -OperationTimeoutSec $StartSeconds -ErrorAction Stop
        # 0: accepted; 10: runs already. 2 would be: access denied.
        if (@(0, 10) -notcontains [int] $answer.ReturnValue) {
            Write-AgentEvent -Id 302 -EntryType Error -Message (
                "$Name could not be started: Win32_Service.StartService answered $($answer.ReturnValue); " +
                '2 means that the installer has to be run again with this service in -RestartServices')
            return $false
        }
        $waited = [System.Diagnostics.Stopwatch]::StartNew()
        do {
            Start-Sleep -Seconds $SettleSeconds
            $state = Get-WatchedServiceState -Name $Name
        } while ($state -eq 'starting' -and $waited.Elapsed.TotalSeconds -lt $StartSeconds)
        if ($state -ne 'running') {
            Write-AgentEvent -Id 302 -EntryType Error -Message "$Name was started and is $state"
        }
        return $state -eq 'running'
    } catch {
        Write-AgentEvent -Id 302 -EntryType Error -Message "$Name could not be started: $($_.Exception.Message)"
        return $false
    }
}
