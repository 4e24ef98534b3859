# Where the Windows agent finds its settings and its token, keeps its counters, and says what happened. Dot-sourced by
# PvewatchAgent.ps1 and by the installer, which checks with it what it has written.

$PvewatchFolder = Join-Path $env:ProgramData 'pvewatch'
$EventSource = 'pvewatch-agent'
$MaxServers = 4
$MaxServices = 32
$MaxLogBytes = 262144

# Keeps this program's secrets apart from those of others; it is no secret itself. See README.md on what protects the
# token.
$TokenEntropy = [System.Text.Encoding]::ASCII.GetBytes('pvewatch-agent token v1')

# --- settings ---

function Read-SettingsFile {
    <#
    .SYNOPSIS
    Reads KEY=VALUE lines; the file is never run. Throws and names the line when it is something else.
    #>
    [CmdletBinding()]
    param([string] $Path)
    $known = @(
        'URL', 'TOKEN_FILE', 'CA_FILE', 'INTERVAL', 'INITIAL_OFFSET', 'ALLOW_HTTP', 'STATE_FILE', 'PROXY',
        'SERVICES', 'RESTART_SERVICES', 'RESTART_LIMIT', 'RESTART_WINDOW'
    )
    $values = @{}
    $number = 0
    foreach ($line in [System.IO.File]::ReadAllLines($Path)) {
        $number++
        if ($line -match '^\s*(#|$)') {
            continue
        }
        if ($line -cmatch '^\s*([A-Z_]+)=(.*)$') {
            $key = $Matches[1]
            if ($known -cnotcontains $key) {
                throw "$Path line ${number}: $key is not a setting; agent.conf.example lists them"
            }
            $values[$key] = $Matches[2].Trim()
        } else {
            throw "$Path line ${number}: is not KEY=VALUE"
        }
    }
    $values
}

function Get-Setting {
    <#
    .SYNOPSIS
    One value of the file, or the default when it is not there or empty.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Values, [string] $Key, [string] $Default = '')
    if ($Values.Contains($Key) -and $Values[$Key] -ne '') {
        $Values[$Key]
    } else {
        $Default
    }
}

function Get-NumberSetting {
    <#
    .SYNOPSIS
    One value as a whole number. Throws when it is none or outside of the bounds.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Values, [string] $Key, [int] $Default, [int] $Minimum, [int] $Maximum)
    $text = Get-Setting -Values $Values -Key $Key -Default ([string] $Default)
    if ($text -notmatch '^[0-9]{1,6}\z' -or [int] $text -lt $Minimum -or [int] $text -gt $Maximum) {
        throw "${Key}: $text is not a whole number from $Minimum to $Maximum"
    }
    [int] $text
}

function Split-NameList {
    <#
    .SYNOPSIS
    The names of services in a list with commas between; Windows permits spaces in them.
    #>
    [CmdletBinding()]
    param([string] $Key, [string] $List)
    foreach ($part in $List.Split(',')) {
        $name = $part.Trim()
        if ($name -eq '') {
            continue
        }
        # No quote, backslash or percent sign: the name becomes part of a CIM query.
        if ($name -notmatch '^[A-Za-z0-9_][A-Za-z0-9 _.$@#()~&:+-]{0,254}\z') {
            throw "${Key}: $name is not the name of a service; Get-Service shows it under Name"
        }
        $name
    }
}

function Get-ServerUrl {
    <#
    .SYNOPSIS
    Checks and completes one address of the exporter. Throws when it is none, or would send the token unencrypted.
    #>
    [CmdletBinding()]
    param([string] $Url, [bool] $AllowHttp)
    if ($Url -notmatch '^https?://[\]\[A-Za-z0-9._:-]+(/[A-Za-z0-9._/-]*)?\z') {
        throw "URL: $Url is not an http(s) address"
    }
    $complete = $Url
    if ($Url -match '^https?://[^/]+/?\z') {
        $complete = $Url.TrimEnd('/') + '/api/v1/heartbeat'
    }
    if ($complete -match '^http:' -and $complete -notmatch '^http://(127\.0\.0\.1|localhost|\[::1\])[:/]') {
        if (-not $AllowHttp) {
            throw "URL: $Url would send the token unencrypted; use https, or set ALLOW_HTTP=yes"
        }
    }
    $complete
}

function Get-AgentSettings {
    <#
    .SYNOPSIS
    The settings, checked. Throws when one is wrong. Without a file the defaults, which name no server.
    #>
    [CmdletBinding()]
    param([string] $Path)
    $values = @{}
    if ($Path -ne '') {
        $values = Read-SettingsFile -Path $Path
    }
    $allowHttp = (Get-Setting -Values $values -Key 'ALLOW_HTTP' -Default 'no') -eq 'yes'
    $urls = @((Get-Setting -Values $values -Key 'URL').Split(' ') | Where-Object { $_ -ne '' } | ForEach-Object {
            Get-ServerUrl -Url $_ -AllowHttp $allowHttp
        })
    if ($urls.Count -gt $MaxServers) {
        throw "URL: has $($urls.Count) addresses; at most $MaxServers are tried"
    }
    $services = @(Split-NameList -Key 'SERVICES' -List (Get-Setting -Values $values -Key 'SERVICES'))
    if ($services.Count -gt $MaxServices) {
        throw "SERVICES: has $($services.Count) names; at most $MaxServices are reported"
    }
    $restart = @(Split-NameList -Key 'RESTART_SERVICES' -List (Get-Setting -Values $values -Key 'RESTART_SERVICES'))
    foreach ($name in $restart) {
        if ($services -notcontains $name) {
            throw "RESTART_SERVICES: $name is not in SERVICES; add it there"
        }
    }
    $proxy = Get-Setting -Values $values -Key 'PROXY' -Default 'system'
    if ($proxy -notmatch '^(system|none|http://[\]\[A-Za-z0-9._:-]+/?)\z') {
        throw "PROXY: $proxy is neither system, none nor an address such as http://proxy.example:3128"
    }
    $interval = Get-NumberSetting -Values $values -Key 'INTERVAL' -Default 60 -Minimum 1 -Maximum 60
    $offset = -1
    if ((Get-Setting -Values $values -Key 'INITIAL_OFFSET' -Default 'random') -ne 'random') {
        $offset = Get-NumberSetting -Values $values -Key 'INITIAL_OFFSET' -Default 0 -Minimum 0 -Maximum 9999
    }
    @{
        Urls = $urls
        AllowHttp = $allowHttp
        TokenFile = Get-Setting -Values $values -Key 'TOKEN_FILE' -Default (Join-Path $PvewatchFolder 'agent.token')
        CaFile = Get-Setting -Values $values -Key 'CA_FILE'
        StateFile = Get-Setting -Values $values -Key 'STATE_FILE' -Default (
            Join-Path $PvewatchFolder 'state\agent.json')
        Proxy = $proxy
        Interval = $interval
        InitialOffset = $offset
        Services = $services
        RestartServices = $restart
        RestartLimit = Get-NumberSetting -Values $values -Key 'RESTART_LIMIT' -Default 3 -Minimum 1 -Maximum 100
        RestartWindow = Get-NumberSetting -Values $values -Key 'RESTART_WINDOW' -Default 3600 -Minimum 60 -Maximum 86400
    }
}

# --- the token ---

function Import-DataProtection {
    <#
    .SYNOPSIS
    Loads the assembly with ProtectedData: its name differs between Windows PowerShell and PowerShell 7.
    #>
    [CmdletBinding()]
    param()
    if ($PSVersionTable.PSVersion.Major -lt 6) {
        Add-Type -AssemblyName System.Security
    } else {
        Add-Type -AssemblyName System.Security.Cryptography.ProtectedData
    }
}

function Test-TokenText {
    <#
    .SYNOPSIS
    Whether a text may be a token of 'pvewatch agent-token'.
    #>
    [CmdletBinding()]
    param([string] $Text)
    $Text -cmatch '^[A-Za-z0-9._-]{1,256}\z'
}

function Save-AgentToken {
    <#
    .SYNOPSIS
    Writes the token, encrypted for this machine. For the machine and not for a user: the administrator who installs
    is another account than the one that the task runs under. Who may read the file is said by its ACL.
    #>
    [CmdletBinding()]
    param([string] $Token, [string] $Path)
    Import-DataProtection
    $bytes = [System.Security.Cryptography.ProtectedData]::Protect(
        [System.Text.Encoding]::ASCII.GetBytes($Token),
        $TokenEntropy,
        [System.Security.Cryptography.DataProtectionScope]::LocalMachine)
    [System.IO.File]::WriteAllText($Path, [System.Convert]::ToBase64String($bytes))
}

function Read-AgentToken {
    <#
    .SYNOPSIS
    The token in clear. Throws and says what to do when it cannot be had.
    #>
    [CmdletBinding()]
    param([string] $Path)
    $remedy = 'run Install-PvewatchAgent.ps1 again to enter the token'
    if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) {
        throw "TOKEN_FILE: $Path is not there or may not be read; $remedy"
    }
    try {
        Import-DataProtection
        $bytes = [System.Security.Cryptography.ProtectedData]::Unprotect(
            [System.Convert]::FromBase64String([System.IO.File]::ReadAllText($Path).Trim()),
            $TokenEntropy,
            [System.Security.Cryptography.DataProtectionScope]::LocalMachine)
        $token = [System.Text.Encoding]::ASCII.GetString($bytes)
    } catch {
        throw "TOKEN_FILE: $Path was not encrypted on this machine, or may not be read; $remedy"
    }
    if (-not (Test-TokenText -Text $token)) {
        throw "TOKEN_FILE: $Path does not hold a token of 'pvewatch agent-token'; $remedy"
    }
    $token
}

# --- counters that outlive the process ---

function Get-EmptyState {
    <#
    .SYNOPSIS
    The counters of a boot that nothing was sent in yet.
    #>
    [CmdletBinding()]
    param()
    @{ Sequence = [long] 0; Missed = [long] 0; Server = 0; Restarts = @{}; Repairs = @(); LastRepair = $null }
}

function Read-AgentState {
    <#
    .SYNOPSIS
    The counters of this boot. What is of another boot, or nonsense, counts for nothing.
    #>
    [CmdletBinding()]
    param([string] $Path, [string] $BootId)
    $state = Get-EmptyState
    try {
        $kept = [System.IO.File]::ReadAllText($Path) | ConvertFrom-Json
        if ($kept.boot_id -ne $BootId) {
            return $state
        }
        $read = Get-EmptyState
        $read.Sequence = [System.Math]::Max([long] 0, [long] $kept.sequence)
        $read.Missed = [System.Math]::Max([long] 0, [long] $kept.missed)
        $read.Server = [System.Math]::Max(0, [int] $kept.server)
        foreach ($counted in @($kept.restarts)) {
            $read.Restarts[[string] $counted.service] = [long] $counted.count
        }
        $read.Repairs = @(foreach ($repair in @($kept.repairs)) {
                @{ At = [double] $repair.at; Service = [string] $repair.service; What = [string] $repair.what }
            })
        if ($null -ne $kept.last_repair) {
            $last = $kept.last_repair
            $read.LastRepair = @{
                Time = [double] $last.time; Service = [string] $last.service; Outcome = [string] $last.outcome
            }
        }
        $state = $read
    } catch {
        Write-Verbose "The counters begin anew: $($_.Exception.Message)"
    }
    $state
}

function Save-AgentState {
    <#
    .SYNOPSIS
    Writes the counters down; by a second file, so that a crash leaves the former ones whole.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $state = $Session.State
    $kept = [ordered]@{
        boot_id = $Session.BootId
        sequence = $state.Sequence
        missed = $state.Missed
        server = $state.Server
        restarts = [object[]] @(foreach ($name in $state.Restarts.Keys) {
                [ordered]@{ service = $name; count = $state.Restarts[$name] }
            })
        repairs = [object[]] @(foreach ($repair in $state.Repairs) {
                [ordered]@{ at = $repair.At; service = $repair.Service; what = $repair.What }
            })
        last_repair = $null
    }
    if ($null -ne $state.LastRepair) {
        $last = $state.LastRepair
        $kept['last_repair'] = [ordered]@{ time = $last.Time; service = $last.Service; outcome = $last.Outcome }
    }
    $path = $Session.Settings.StateFile
    try {
        [System.IO.File]::WriteAllText("$path.new", (ConvertTo-Json -InputObject $kept -Depth 5 -Compress))
        Move-Item -LiteralPath "$path.new" -Destination $path -Force -ErrorAction Stop
        $Session.StateFailed = $false
    } catch {
        # Said once, not at each heartbeat.
        if (-not $Session.StateFailed) {
            $Session.StateFailed = $true
            Write-AgentEvent -Id 401 -EntryType Warning -Message (
                "STATE_FILE: $path cannot be written ($($_.Exception.Message)); the counters end with this process")
        }
    }
}

# --- saying what happened ---

function Write-AgentEvent {
    <#
    .SYNOPSIS
    Writes to the Application log; to a file of bounded size where the event source is missing. Never throws.
    #>
    [CmdletBinding()]
    param([int] $Id, [System.Diagnostics.EventLogEntryType] $EntryType, [string] $Message)
    if ($EntryType -ne [System.Diagnostics.EventLogEntryType]::Information) {
        Write-Warning $Message
    }
    try {
        [System.Diagnostics.EventLog]::WriteEntry($EventSource, $Message, $EntryType, $Id)
    } catch {
        try {
            $log = Join-Path $PvewatchFolder 'state\agent.log'
            if ((Test-Path -LiteralPath $log) -and (Get-Item -LiteralPath $log).Length -gt $MaxLogBytes) {
                Move-Item -LiteralPath $log -Destination "$log.old" -Force -ErrorAction Stop
            }
            $invariant = [System.Globalization.CultureInfo]::InvariantCulture
            $now = [System.DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ', $invariant)
            [System.IO.File]::AppendAllText($log, "$now $EntryType $Id $Message`r`n")
        } catch {
            Write-Verbose "Neither the event log nor the file takes it: $Message"
        }
    }
}
