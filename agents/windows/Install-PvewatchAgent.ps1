<#
.SYNOPSIS
Installs the pvewatch agent, or a newer version of it over an older one.
.DESCRIPTION
May be repeated: what is not given stays as it is, the settings and the token above all. Run it in an elevated
PowerShell. The token is never a parameter: other programs see those. It is read from a file, which is removed then, or
asked for.
.PARAMETER Url
The exporter's heartbeat address; several are tried in turn.
.PARAMETER TokenFile
File with the output of "pvewatch agent-token CLUSTER VMID". It is removed once the token is stored.
.PARAMETER CaFile
Certificate of the authority that signed the exporter's certificate, PEM or DER. The agent then trusts only that one;
nothing is added to the machine's store.
.PARAMETER Interval
Seconds between heartbeats.
.PARAMETER Services
Services to report, with commas between.
.PARAMETER RestartServices
Those of them to start again when they have failed. The agent's account gets the right to start them.
.PARAMETER Proxy
system, none, or an address such as http://proxy.example:3128.
.PARAMETER Account
What the task runs as: LocalService, or NetworkService where a proxy wants the machine's own credentials.
.PARAMETER PowerShell
The program that runs the agent, if not Windows PowerShell 5.1; such as the path of pwsh.exe.
#>
[CmdletBinding()]
param(
    [string[]] $Url = @(),
    [string] $TokenFile = '',
    [string] $CaFile = '',
    [int] $Interval = 0,
    [string] $Services = '',
    [string] $RestartServices = '',
    [string] $Proxy = '',
    [ValidateSet('LocalService', 'NetworkService')] [string] $Account = 'LocalService',
    [string] $PowerShell = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

. (Join-Path $PSScriptRoot 'PvewatchSettings.ps1')
. (Join-Path $PSScriptRoot 'PvewatchSending.ps1')
. (Join-Path $PSScriptRoot 'PvewatchRights.ps1')

$Parts = @(
    'PvewatchAgent.ps1', 'PvewatchFields.ps1', 'PvewatchServices.ps1', 'PvewatchSettings.ps1', 'PvewatchSending.ps1',
    'PvewatchRights.ps1', 'Install-PvewatchAgent.ps1', 'Uninstall-PvewatchAgent.ps1', 'agent.conf.example'
)

function Set-SettingLine {
    <#
    .SYNOPSIS
    The lines of a settings file with one value set; the others stay, with their comments.
    #>
    [CmdletBinding()]
    param([string[]] $Lines, [string] $Key, [string] $Value)
    $done = $false
    foreach ($line in $Lines) {
        if ($line -cmatch "^\s*$Key=") {
            if (-not $done) {
                "$Key=$Value"
                $done = $true
            }
        } else {
            $line
        }
    }
    if (-not $done) {
        "$Key=$Value"
    }
}

function Save-Setting {
    <#
    .SYNOPSIS
    Writes the settings that were given into agent.conf and keeps the others.
    #>
    [CmdletBinding()]
    param([string] $Path, [System.Collections.IDictionary] $Given)
    $lines = @('# KEY=VALUE lines; agent.conf.example beside the programs explains them.')
    if (Test-Path -LiteralPath $Path) {
        $lines = @([System.IO.File]::ReadAllLines($Path))
    }
    foreach ($key in $Given.Keys) {
        if ($Given[$key] -ne '') {
            $lines = @(Set-SettingLine -Lines $lines -Key $key -Value $Given[$key])
        }
    }
    [System.IO.File]::WriteAllLines($Path, [string[]] $lines)
}

function Read-GivenToken {
    <#
    .SYNOPSIS
    The token from the given file or, unless one is installed already, from the keyboard; empty to keep that one.
    #>
    [CmdletBinding()]
    param([string] $File, [string] $Installed)
    if ($File -ne '') {
        $text = [System.IO.File]::ReadAllText((Resolve-Path -LiteralPath $File).ProviderPath).Trim()
    } elseif (Test-Path -LiteralPath $Installed) {
        return ''
    } else {
        $secure = Read-Host -AsSecureString -Prompt 'Token of this guest (pvewatch agent-token CLUSTER VMID prints it)'
        $pointer = [System.Runtime.InteropServices.Marshal]::SecureStringToBSTR($secure)
        try {
            $text = [System.Runtime.InteropServices.Marshal]::PtrToStringBSTR($pointer).Trim()
        } finally {
            [System.Runtime.InteropServices.Marshal]::ZeroFreeBSTR($pointer)
        }
    }
    if (-not (Test-TokenText -Text $text)) {
        throw "That is not a token of 'pvewatch agent-token'; give it with -TokenFile or at the prompt"
    }
    $text
}

function Copy-Program {
    <#
    .SYNOPSIS
    Copies the agent to where it runs from, unless this is there already.
    #>
    [CmdletBinding()]
    param()
    if (-not (Test-Path -LiteralPath $ProgramFolder)) {
        $null = New-Item -ItemType Directory -Path $ProgramFolder
    }
    if ((Resolve-Path -LiteralPath $PSScriptRoot).ProviderPath -eq (Resolve-Path -LiteralPath $ProgramFolder).ProviderPath) {
        return
    }
    foreach ($part in $Parts) {
        $target = Join-Path $ProgramFolder $part
        Copy-Item -LiteralPath (Join-Path $PSScriptRoot $part) -Destination $target -Force
        # A mark "from the internet" would keep it from running under the policy RemoteSigned.
        Unblock-File -LiteralPath $target
    }
}

function Install-Agent {
    <#
    .SYNOPSIS
    The whole installation. Throws when something is wrong; a task of before then starts again within five minutes.
    #>
    [CmdletBinding()]
    param()
    Assert-Elevated
    $who = $Accounts[$Account]
    $config = Join-Path $PvewatchFolder 'agent.conf'
    $tokenPath = Join-Path $PvewatchFolder 'agent.token'
    $given = [ordered]@{
        URL = $Url -join ' '; SERVICES = $Services; RESTART_SERVICES = $RestartServices; PROXY = $Proxy
        INTERVAL = ''; CA_FILE = ''
    }
    if ($Interval -gt 0) {
        $given['INTERVAL'] = [string] $Interval
    }

    $null = Stop-AgentTask
    Set-ProtectedFolder -Path $PvewatchFolder -Sid $who.Sid -Right 'RX'
    Set-ProtectedFolder -Path $StateFolder -Sid $who.Sid -Right 'M'
    $token = Read-GivenToken -File $TokenFile -Installed $tokenPath
    if ($token -ne '') {
        Save-AgentToken -Token $token -Path $tokenPath
        if ($TokenFile -ne '') {
            Remove-Item -LiteralPath $TokenFile
            Write-Output "The token is stored, encrypted; $TokenFile is removed."
        }
    }
    if ($CaFile -ne '') {
        $given['CA_FILE'] = Join-Path $PvewatchFolder 'ca.pem'
        if ((Resolve-Path -LiteralPath $CaFile).ProviderPath -ne $given['CA_FILE']) {
            Copy-Item -LiteralPath $CaFile -Destination $given['CA_FILE'] -Force
        }
    }
    Save-Setting -Path $config -Given $given

    # What would not start is refused here, where somebody reads it.
    $settings = Get-AgentSettings -Path $config
    if ($settings.Urls.Count -eq 0) {
        throw "URL: is not set; give the exporter's heartbeat address with -Url"
    }
    $null = Read-AgentToken -Path $settings.TokenFile
    $null = Get-Authority -Path $settings.CaFile

    Copy-Program
    if (-not [System.Diagnostics.EventLog]::SourceExists($EventSource)) {
        [System.Diagnostics.EventLog]::CreateEventSource($EventSource, 'Application')
    }
    Set-Grant -Services $settings.RestartServices -Account $Account -ReadCounters
    $program = $PowerShell
    if ($program -eq '') {
        $program = Join-Path $env:SystemRoot 'System32\WindowsPowerShell\v1.0\powershell.exe'
    }
    Register-AgentTask -Sid $who.Sid -PowerShell $program
    Start-ScheduledTask -TaskName $TaskName
    # An agent that cannot start ends within this time.
    Start-Sleep -Seconds 10
    if ([string] (Get-ScheduledTask -TaskName $TaskName -TaskPath '\').State -ne 'Running') {
        throw "The agent did not stay up: see Get-EventLog -LogName Application -Source $EventSource -Newest 5"
    }
    Write-Output "The agent runs. What it has to say is in the Application log, source $EventSource."
}

if ($MyInvocation.InvocationName -ne '.') {
    Install-Agent
}
