# What installer and uninstaller change in Windows: folders, rights, the event source, the task. Each function may be
# called again and changes only what is different. Dot-sourced by both, after PvewatchSettings.ps1.

$TaskName = 'pvewatch-agent'
$ProgramFolder = Join-Path $env:ProgramFiles 'pvewatch-agent'
$StateFolder = Join-Path $PvewatchFolder 'state'
$GrantsFile = Join-Path $PvewatchFolder 'grants.txt'

# The well-known accounts by SID: their names are translated in other languages of Windows. The two letters are their
# name in SDDL.
$Accounts = @{
    LocalService = @{ Sid = 'S-1-5-19'; Sddl = 'LS' }
    NetworkService = @{ Sid = 'S-1-5-20'; Sddl = 'NS' }
}
$SystemSid = 'S-1-5-18'
$AdministratorsSid = 'S-1-5-32-544'
$CounterReadersSid = 'S-1-5-32-558'

function Assert-Elevated {
    <#
    .SYNOPSIS
    Throws when this is not an elevated PowerShell of the system's own width.
    #>
    [CmdletBinding()]
    param()
    $identity = [System.Security.Principal.WindowsIdentity]::GetCurrent()
    $principal = New-Object -TypeName System.Security.Principal.WindowsPrincipal -ArgumentList $identity
    if (-not $principal.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'This needs administrator rights: start PowerShell with "Run as administrator"'
    }
    if ([System.Environment]::Is64BitOperatingSystem -and -not [System.Environment]::Is64BitProcess) {
        throw 'This is a 32-bit PowerShell, which sees other folders: start the 64-bit one'
    }
}

function Invoke-Tool {
    <#
    .SYNOPSIS
    Runs a program of System32 and returns what it printed. Throws when its exit code is not 0.
    #>
    [CmdletBinding()]
    param([string] $Name, [string[]] $Arguments)
    $printed = @(& (Join-Path $env:SystemRoot "System32\$Name") $Arguments)
    if ($LASTEXITCODE -ne 0) {
        throw "$Name $($Arguments -join ' ') ended with ${LASTEXITCODE}: $($printed -join ' ')"
    }
    $printed
}

function Set-ProtectedFolder {
    <#
    .SYNOPSIS
    Makes a folder that only administrators write and the agent's account may read (RX) or change (M). Below
    ProgramData anybody may make folders: one that somebody else has made is refused.
    #>
    [CmdletBinding()]
    param([string] $Path, [string] $Sid, [string] $Right)
    if (Test-Path -LiteralPath $Path) {
        $owner = (Get-Acl -LiteralPath $Path).GetOwner([System.Security.Principal.SecurityIdentifier]).Value
        $isLink = (Get-Item -LiteralPath $Path -Force).Attributes -band [System.IO.FileAttributes]::ReparsePoint
        if ($isLink -or @($SystemSid, $AdministratorsSid) -notcontains $owner) {
            throw "$Path was made by somebody else than an administrator ($owner): look at what is in it and remove it"
        }
    } else {
        $null = New-Item -ItemType Directory -Path $Path
        $null = Invoke-Tool -Name icacls.exe -Arguments $Path, '/setowner', "*$AdministratorsSid"
    }
    $null = Invoke-Tool -Name icacls.exe -Arguments $Path, '/inheritance:r', '/grant:r', "*${SystemSid}:(OI)(CI)F", "*${AdministratorsSid}:(OI)(CI)F"
    foreach ($account in $Accounts.Values) {
        $null = Invoke-Tool -Name icacls.exe -Arguments $Path, '/remove:g', "*$($account.Sid)"
    }
    $null = Invoke-Tool -Name icacls.exe -Arguments $Path, '/grant:r', "*${Sid}:(OI)(CI)$Right"
}

function Add-StartRight {
    <#
    .SYNOPSIS
    A service's security descriptor (SDDL) in which an account may start it (RP), and nothing more. Throws when it is
    not understood.
    #>
    [CmdletBinding()]
    param([string] $Descriptor, [string] $Account)
    $entry = "(A;;RP;;;$Account)"
    if ($Descriptor.Contains($entry)) {
        return $Descriptor
    }
    # The entry becomes the last one of the access list (D:), before the audit list (S:) if there is one.
    if ($Descriptor -cmatch '^(D:[A-Z]*(?:\([^()]*\))*)(S:.*)?\z') {
        $audit = ''
        if ($Matches.ContainsKey(2)) {
            $audit = $Matches[2]
        }
        return $Matches[1] + $entry + $audit
    }
    throw "its security descriptor is not understood: $Descriptor"
}

function Remove-StartRight {
    <#
    .SYNOPSIS
    A service's security descriptor (SDDL) without what Add-StartRight put in.
    #>
    [CmdletBinding()]
    param([string] $Descriptor, [string] $Account)
    $Descriptor.Replace("(A;;RP;;;$Account)", '')
}

function Set-StartRight {
    <#
    .SYNOPSIS
    Gives an account the right to start a service, or takes it away again.
    #>
    [CmdletBinding()]
    param([string] $Service, [string] $Account, [switch] $Remove)
    $before = (@(Invoke-Tool -Name sc.exe -Arguments 'sdshow', $Service) -join '').Trim()
    if ($Remove) {
        $after = Remove-StartRight -Descriptor $before -Account $Account
    } else {
        $after = Add-StartRight -Descriptor $before -Account $Account
    }
    if ($after -cne $before) {
        $null = Invoke-Tool -Name sc.exe -Arguments 'sdset', $Service, $after
    }
}

function Set-Grant {
    <#
    .SYNOPSIS
    Lets an account start exactly these services, and read performance counters where that is asked for; takes away
    what an earlier call gave and this one does not. What was given stands in grants.txt.
    #>
    [CmdletBinding()]
    param([string[]] $Services, [string] $Account, [switch] $ReadCounters)
    $wanted = @(foreach ($name in $Services) {
            "start $($Accounts[$Account].Sddl) $name"
        })
    if ($ReadCounters) {
        $wanted += "counters $($Accounts[$Account].Sid)"
    }
    $given = @()
    if (Test-Path -LiteralPath $GrantsFile) {
        $given = @([System.IO.File]::ReadAllLines($GrantsFile) | Where-Object { $_ -ne '' })
    }
    $kept = @()
    foreach ($grant in $given) {
        if ($wanted -contains $grant -or (Set-OneGrant -Grant $grant -Remove)) {
            continue
        }
        $kept += $grant
    }
    foreach ($grant in $wanted) {
        # What the account had already was not given by this, and is not taken away later.
        if ($given -contains $grant) {
            $null = Set-OneGrant -Grant $grant
            $kept += $grant
        } elseif (Set-OneGrant -Grant $grant) {
            $kept += $grant
        }
    }
    [System.IO.File]::WriteAllLines($GrantsFile, [string[]] $kept)
}

function Set-OneGrant {
    <#
    .SYNOPSIS
    Gives or takes away what one line of grants.txt says. Returns whether that was done; otherwise it has warned.
    #>
    [CmdletBinding()]
    param([string] $Grant, [switch] $Remove)
    $kind, $who, $service = $Grant.Split(' ', 3)
    try {
        if ($kind -eq 'start') {
            Set-StartRight -Service $service -Account $who -Remove:$Remove
        } elseif ($Remove) {
            Remove-LocalGroupMember -SID $CounterReadersSid -Member $who -ErrorAction Stop
        } else {
            Add-LocalGroupMember -SID $CounterReadersSid -Member $who -ErrorAction Stop
        }
        return $true
    } catch {
        # 1060: there is no such service any more.
        if ($Remove -and ($_.FullyQualifiedErrorId -like 'MemberNotFound*' -or $_.Exception.Message -like '*ended with 1060*')) {
            return $true
        }
        if ($_.FullyQualifiedErrorId -notlike 'MemberExists*') {
            Write-Warning "$Grant could not be set: $($_.Exception.Message)"
        }
        return $false
    }
}

function Register-AgentTask {
    <#
    .SYNOPSIS
    Makes or replaces the scheduled task: at each boot, and every five minutes in case that it has ended; never twice.
    #>
    [CmdletBinding()]
    param([string] $Sid, [string] $PowerShell)
    $script = Join-Path $ProgramFolder 'PvewatchAgent.ps1'
    $arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$script`""
    $action = New-ScheduledTaskAction -Execute $PowerShell -Argument $arguments
    $triggers = @(
        (New-ScheduledTaskTrigger -AtStartup),
        (New-ScheduledTaskTrigger -Once -At ([System.DateTime]::Now) -RepetitionInterval (New-TimeSpan -Minutes 5))
    )
    # Of the account's privileges only the one that each user has: above all not SeImpersonatePrivilege.
    $principal = New-ScheduledTaskPrincipal -UserId $Sid -LogonType ServiceAccount -RunLevel Limited -RequiredPrivilege 'SeChangeNotifyPrivilege'
    $settings = New-ScheduledTaskSettingsSet -MultipleInstances IgnoreNew -ExecutionTimeLimit ([System.TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -StartWhenAvailable -Priority 7
    $null = Register-ScheduledTask -TaskName $TaskName -Action $action -Trigger $triggers -Principal $principal -Settings $settings -Description 'Sends the heartbeat of this guest to pvewatch' -Force
}

function Stop-AgentTask {
    <#
    .SYNOPSIS
    Ends the agent if its task exists, and returns whether it does.
    #>
    [CmdletBinding()]
    param()
    $task = Get-ScheduledTask -TaskName $TaskName -TaskPath '\' -ErrorAction SilentlyContinue
    if ($null -eq $task) {
        return $false
    }
    Stop-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue
    return $true
}
