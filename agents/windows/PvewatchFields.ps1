# What the Windows agent measures: one function for each field of agents/heartbeat.schema.json. A function that cannot
# read its figure returns nothing or throws: the figure is left out of the message, never guessed. Dot-sourced by
# PvewatchAgent.ps1, which has set strict mode.

# The most that the wire format takes.
$MaxFilesystems = 32
$MaxInterfaces = 16

# One CIM class that hangs must not hold up the others; together they must not hold up the heartbeat.
$CimTimeoutSeconds = 5
$CimBudgetSeconds = 15

# --- asking ---

function Get-CimAnswer {
    <#
    .SYNOPSIS
    Asks the instances of one CIM class. Throws when there is no answer in time.
    #>
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $ClassName,
        [string] $Filter = '',
        [string] $Namespace = 'root/cimv2'
    )
    $question = @{
        ClassName = $ClassName
        Namespace = $Namespace
        OperationTimeoutSec = $CimTimeoutSeconds
        ErrorAction = 'Stop'
    }
    if ($Filter -ne '') {
        $question['Filter'] = $Filter
    }
    Get-CimInstance @question
}

function Get-Text {
    <#
    .SYNOPSIS
    Trims a text and cuts it to the length that the wire format takes.
    #>
    [CmdletBinding()]
    param([string] $Text, [int] $Length)
    $trimmed = $Text.Trim()
    $trimmed.Substring(0, [System.Math]::Min($Length, $trimmed.Length))
}

function Get-UnixSeconds {
    <#
    .SYNOPSIS
    The guest's clock in unix seconds, to the millisecond. DateTimeOffset has this only since .NET Framework 4.6.
    #>
    [CmdletBinding()]
    param()
    $epoch = [System.DateTime]::new(1970, 1, 1, 0, 0, 0, [System.DateTimeKind]::Utc)
    [System.Math]::Round(([System.DateTime]::UtcNow - $epoch).TotalSeconds, 3)
}

# --- fields ---

function Get-AgentField {
    <#
    .SYNOPSIS
    The program that speaks.
    #>
    [CmdletBinding()]
    param()
    [ordered]@{ version = $PvewatchAgentVersion; platform = 'windows' }
}

function Get-BootIdField {
    <#
    .SYNOPSIS
    When process 4 (System) was created: Windows has no boot id, and this moment is another one after each boot and on
    each machine. LastBootUpTime would do less well: Windows moves it when the clock is set.
    #>
    [CmdletBinding()]
    param()
    $moment = (Get-CimAnswer -ClassName Win32_Process -Filter 'ProcessId = 4').CreationDate
    if ($null -eq $moment) {
        $moment = (Get-CimAnswer -ClassName Win32_OperatingSystem).LastBootUpTime
    }
    # Local time with its kind set: what CimCmdlets makes of a CIM datetime.
    $invariant = [System.Globalization.CultureInfo]::InvariantCulture
    'boot-' + $moment.ToUniversalTime().ToString('yyyyMMdd-HHmmss.ffffff', $invariant)
}

function Get-UptimeAtStart {
    <#
    .SYNOPSIS
    Seconds since the boot, by two moments of one answer: so neither a clock that is set nor daylight saving matters.
    #>
    [CmdletBinding()]
    param()
    $system = Get-CimAnswer -ClassName Win32_OperatingSystem
    ($system.LocalDateTime.ToUniversalTime() - $system.LastBootUpTime.ToUniversalTime()).TotalSeconds
}

function Get-UptimeField {
    <#
    .SYNOPSIS
    Seconds since the boot: what CIM said at the start of the agent, and a clock that nobody sets since. So a heartbeat
    needs no CIM: TickCount64 is missing in .NET Framework.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    [System.Math]::Round([System.Math]::Max(0, $Session.UptimeAtStart + $Session.Clock.Elapsed.TotalSeconds), 2)
}

function Get-CpuCounter {
    <#
    .SYNOPSIS
    Idle time and time of all processors together, both in 100 ns; nothing when the counters cannot be read.
    #>
    [CmdletBinding()]
    param()
    try {
        # PERF_100NSEC_TIMER_INV: despite its name the raw value of PercentProcessorTime counts the idle time.
        $total = Get-CimAnswer -ClassName Win32_PerfRawData_PerfOS_Processor -Filter "Name = '_Total'"
        @{ Idle = [decimal] $total.PercentProcessorTime; Time = [decimal] $total.Timestamp_Sys100NS }
    } catch {
        Write-Verbose "The processor's counters cannot be read: $($_.Exception.Message)"
    }
}

function Get-CpuUsage {
    <#
    .SYNOPSIS
    The share of processor time in use between two readings, 0 to 1; nothing when they do not say.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Before, [System.Collections.IDictionary] $After)
    if ($null -eq $Before -or $null -eq $After -or $After.Time -le $Before.Time -or $After.Idle -lt $Before.Idle) {
        return
    }
    $usage = 1 - [double] (($After.Idle - $Before.Idle) / ($After.Time - $Before.Time))
    [System.Math]::Round([System.Math]::Min(1, [System.Math]::Max(0, $usage)), 4)
}

function Get-CpuField {
    <#
    .SYNOPSIS
    Use since the heartbeat before, and the processors that Windows schedules on.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $cpu = [ordered]@{}
    $usage = Get-CpuUsage -Before $Session.CpuBefore -After (Get-CpuCounter)
    if ($null -ne $usage) {
        $cpu['usage_ratio'] = $usage
    }
    $cores = [int] (Get-CimAnswer -ClassName Win32_ComputerSystem).NumberOfLogicalProcessors
    if ($cores -ge 1) {
        $cpu['cores'] = $cores
    }
    $cpu
}

function Get-MemoryField {
    <#
    .SYNOPSIS
    FreePhysicalMemory counts the standby list, which is cache, as available. CIM counts in kB of 1024.
    #>
    [CmdletBinding()]
    param()
    $system = Get-CimAnswer -ClassName Win32_OperatingSystem
    if ($null -ne $system.TotalVisibleMemorySize -and $null -ne $system.FreePhysicalMemory) {
        [ordered]@{
            size_bytes = [long] $system.TotalVisibleMemorySize * 1024
            available_bytes = [long] $system.FreePhysicalMemory * 1024
        }
    }
}

function Get-SwapField {
    <#
    .SYNOPSIS
    The page files together, 0 when there is none. CIM counts in MB of 1024 kB.
    #>
    [CmdletBinding()]
    param()
    $size = [long] 0
    $used = [long] 0
    foreach ($file in @(Get-CimAnswer -ClassName Win32_PageFileUsage)) {
        $size += [long] $file.AllocatedBaseSize * 1048576
        $used += [long] $file.CurrentUsage * 1048576
    }
    [ordered]@{ size_bytes = $size; free_bytes = [System.Math]::Max([long] 0, $size - $used) }
}

function Get-FilesystemsField {
    <#
    .SYNOPSIS
    Local disks with a letter (DriveType 3): asking a network drive whose server is gone would hang. A locked BitLocker
    drive has no size and is left out.
    #>
    [CmdletBinding()]
    param()
    $disks = @(Get-CimAnswer -ClassName Win32_LogicalDisk -Filter 'DriveType = 3' | Sort-Object -Property DeviceID)
    foreach ($disk in @($disks | Select-Object -First $MaxFilesystems)) {
        if ($null -ne $disk.Size -and $null -ne $disk.FreeSpace -and $disk.FileSystem) {
            [ordered]@{
                mountpoint = $disk.DeviceID
                type = $disk.FileSystem
                size_bytes = [long] $disk.Size
                available_bytes = [long] $disk.FreeSpace
            }
        }
    }
}

function Get-NetworkField {
    <#
    .SYNOPSIS
    Adapters that are up, under the name that Windows shows. MSFT_NetAdapter knows no loopback.
    #>
    [CmdletBinding()]
    param()
    $statistics = @{}
    foreach ($counted in @(Get-CimAnswer -ClassName MSFT_NetAdapterStatisticsSettingData -Namespace root/StandardCimv2)) {
        $statistics[$counted.Name] = $counted
    }
    $adapters = @(Get-CimAnswer -ClassName MSFT_NetAdapter -Namespace root/StandardCimv2 | Where-Object {
            # 1 is "up" of RFC 2863.
            $_.InterfaceOperationalStatus -eq 1 -and -not $_.Hidden -and $statistics.ContainsKey($_.Name)
        })
    foreach ($adapter in @($adapters | Sort-Object -Property Name | Select-Object -First $MaxInterfaces)) {
        [ordered]@{
            interface = Get-Text -Text $adapter.Name -Length 255
            received_bytes = [long] $statistics[$adapter.Name].ReceivedBytes
            sent_bytes = [long] $statistics[$adapter.Name].SentBytes
        }
    }
}

function Get-ServicesField {
    <#
    .SYNOPSIS
    What Update-WatchedService found.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    foreach ($found in $Session.Services) {
        [ordered]@{ name = $found.Name; state = $found.State; restarts = $found.Restarts }
    }
}

function Get-LastRepairField {
    <#
    .SYNOPSIS
    The last time that the agent started a failed service.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $repair = $Session.State.LastRepair
    if ($null -ne $repair) {
        [ordered]@{ time = $repair.Time; service = $repair.Service; outcome = $repair.Outcome }
    }
}

function Get-PendingRebootField {
    <#
    .SYNOPSIS
    What the servicing stack and Windows Update say. PendingFileRenameOperations is not asked: many programs leave
    something there that no reboot is waited for.
    #>
    [CmdletBinding()]
    param()
    $current = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
    $servicing = Test-Path -LiteralPath "$current\Component Based Servicing\RebootPending" -ErrorAction Stop
    $update = Test-Path -LiteralPath "$current\WindowsUpdate\Auto Update\RebootRequired" -ErrorAction Stop
    $servicing -or $update
}

function Get-OsField {
    <#
    .SYNOPSIS
    What Windows calls itself, and its version with the build number.
    #>
    [CmdletBinding()]
    param()
    $system = Get-CimAnswer -ClassName Win32_OperatingSystem
    if (-not $system.Caption -or -not $system.Version) {
        return
    }
    [ordered]@{
        name = Get-Text -Text $system.Caption -Length 64
        version = Get-Text -Text $system.Version -Length 64
    }
}

function Get-SmbiosUuidField {
    <#
    .SYNOPSIS
    The machine's UUID. Firmware that has none says all zeros or all ones.
    #>
    [CmdletBinding()]
    param()
    $uuid = [string] (Get-CimAnswer -ClassName Win32_ComputerSystemProduct).UUID
    if ($uuid -match '^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\z' -and $uuid -notmatch '^[0-]+\z|^[F-]+\z') {
        $uuid
    }
}

# --- the message ---

function Add-Field {
    <#
    .SYNOPSIS
    Adds a measured field to a message, or leaves it out when it cannot be read.
    #>
    [CmdletBinding()]
    param(
        [System.Collections.IDictionary] $Message,
        [string] $Name,
        [scriptblock] $Measure,
        [switch] $List
    )
    if ($Message.Deadline.Elapsed.TotalSeconds -gt $CimBudgetSeconds) {
        return
    }
    try {
        if ($List) {
            # The cast makes a plain array: an empty or a single one stays a list in JSON, also in 5.1.
            $Message.Fields[$Name] = [object[]] @(& $Measure)
        } else {
            $value = & $Measure
            if ($null -ne $value) {
                $Message.Fields[$Name] = $value
            }
        }
    } catch {
        Write-Verbose "$Name is left out: $($_.Exception.Message)"
    }
}

function Get-AgentPayload {
    <#
    .SYNOPSIS
    The whole message as JSON, in the order of the Linux agent. Windows has no load average.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $message = @{ Fields = [ordered]@{}; Deadline = [System.Diagnostics.Stopwatch]::StartNew() }
    Add-Field $message 'schema' { 1 }
    Add-Field $message 'agent' { Get-AgentField }
    Add-Field $message 'boot_id' { $Session.BootId }
    Add-Field $message 'sequence' { $Session.State.Sequence }
    Add-Field $message 'missed' { $Session.State.Missed }
    # Filled in last: measuring takes time, and these two are when it was sent. Their place is here.
    $message.Fields['time'] = 0
    $message.Fields['uptime_seconds'] = 0
    Add-Field $message 'interval_seconds' { $Session.Settings.Interval }
    Add-Field $message 'cpu' { Get-CpuField $Session }
    Add-Field $message 'memory' { Get-MemoryField }
    Add-Field $message 'swap' { Get-SwapField }
    Add-Field $message 'filesystems' { Get-FilesystemsField } -List
    Add-Field $message 'network' { Get-NetworkField } -List
    Add-Field $message 'services' { Get-ServicesField $Session } -List
    Add-Field $message 'last_repair' { Get-LastRepairField $Session }
    Add-Field $message 'pending_reboot' { Get-PendingRebootField }
    Add-Field $message 'os' { Get-OsField }
    Add-Field $message 'smbios_uuid' { Get-SmbiosUuidField }
    $message.Fields['time'] = Get-UnixSeconds
    $message.Fields['uptime_seconds'] = Get-UptimeField $Session
    ConvertTo-Json -InputObject $message.Fields -Depth 5 -Compress
}
