# How the Windows agent delivers a message: TLS, proxy, retries. HttpWebRequest rather than Invoke-WebRequest: of the two
# only it takes, in Windows PowerShell 5.1 and PowerShell 7 alike, an authority for one request, time limits for each
# phase and "no proxy". Dot-sourced by PvewatchAgent.ps1.

$MaxAttempts = 3
$SendSeconds = 10
$AnswerCharacters = 500

# The first build of Windows (Server 2022) whose TLS 1.3 is on by default.
$Tls13Build = 20348

# The check of the server's certificate against the one authority that the settings name. It is compiled, as .NET calls
# it on a thread where no PowerShell can run. Stricter than the system's own check: of its findings only "the root is
# not one of this machine's" is let pass, and only when the chain ends in exactly that authority. Name, dates, signatures
# and purpose count as always. For 5.1: X509ChainPolicy has no CustomTrustStore in .NET Framework.
$AuthorityCheck = @'
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

public sealed class PvewatchAuthority
{
    private readonly X509Certificate2 authority;

    public PvewatchAuthority(X509Certificate2 authority)
    {
        this.authority = authority;
    }

    public RemoteCertificateValidationCallback Callback
    {
        get { return this.Accepts; }
    }

    public bool Accepts(object sender, X509Certificate certificate, X509Chain sent, SslPolicyErrors errors)
    {
        if (certificate == null || (errors | SslPolicyErrors.RemoteCertificateChainErrors)
            != SslPolicyErrors.RemoteCertificateChainErrors)
        {
            return false;
        }
        X509Chain chain = new X509Chain();
        // An authority of one's own seldom publishes revocations; those of public ones are not asked for here.
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        chain.ChainPolicy.ExtraStore.Add(this.authority);
        if (sent != null)
        {
            foreach (X509ChainElement element in sent.ChainElements)
            {
                chain.ChainPolicy.ExtraStore.Add(element.Certificate);
            }
        }
        if (!chain.Build(new X509Certificate2(certificate)) || chain.ChainElements.Count == 0)
        {
            return false;
        }
        byte[] root = chain.ChainElements[chain.ChainElements.Count - 1].Certificate.RawData;
        byte[] wanted = this.authority.RawData;
        if (root.Length != wanted.Length)
        {
            return false;
        }
        for (int index = 0; index < root.Length; index++)
        {
            if (root[index] != wanted[index])
            {
                return false;
            }
        }
        return true;
    }
}
'@

function Initialize-Tls {
    <#
    .SYNOPSIS
    Permits TLS 1.2, and 1.3 where Windows and .NET have it; nothing older, whatever the machine's default is.
    #>
    [CmdletBinding()]
    param()
    $protocols = [System.Net.SecurityProtocolType]::Tls12
    $names = [System.Enum]::GetNames([System.Net.SecurityProtocolType])
    if ([System.Environment]::OSVersion.Version.Build -ge $Tls13Build -and $names -contains 'Tls13') {
        $protocols = $protocols -bor [System.Net.SecurityProtocolType] 'Tls13'
    }
    [System.Net.ServicePointManager]::SecurityProtocol = $protocols
    [System.Net.ServicePointManager]::Expect100Continue = $false
}

function Get-Authority {
    <#
    .SYNOPSIS
    The check against the authority in a PEM or DER file; nothing when the settings name none, and the machine's
    authorities count. Throws when the file cannot be read.
    #>
    [CmdletBinding()]
    param([string] $Path)
    if ($Path -eq '') {
        return
    }
    if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) {
        throw "CA_FILE: $Path is not there or may not be read"
    }
    try {
        $certificate = New-Object -TypeName System.Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList $Path
    } catch {
        throw "CA_FILE: $Path does not hold a certificate: $($_.Exception.Message)"
    }
    if (-not ('PvewatchAuthority' -as [type])) {
        Add-Type -TypeDefinition $AuthorityCheck
    }
    New-Object -TypeName PvewatchAuthority -ArgumentList $certificate
}

function Get-Proxy {
    <#
    .SYNOPSIS
    The proxy of the account, one that the settings name, or none; it is given the account's own credentials.
    #>
    [CmdletBinding()]
    param([string] $Setting)
    if ($Setting -eq 'none') {
        return
    }
    if ($Setting -eq 'system') {
        $proxy = [System.Net.WebRequest]::GetSystemWebProxy()
    } else {
        $proxy = New-Object -TypeName System.Net.WebProxy -ArgumentList $Setting
    }
    if ($null -ne $proxy) {
        $proxy.Credentials = [System.Net.CredentialCache]::DefaultCredentials
    }
    $proxy
}

function Get-WebException {
    <#
    .SYNOPSIS
    The WebException inside of what PowerShell wraps a failed method call in; nothing when there is none.
    #>
    [CmdletBinding()]
    param([System.Exception] $Exception)
    $inner = $Exception
    while ($null -ne $inner -and $inner -isnot [System.Net.WebException]) {
        $inner = $inner.InnerException
    }
    $inner
}

function Read-Answer {
    <#
    .SYNOPSIS
    The first characters of an answer's text.
    #>
    [CmdletBinding()]
    param([System.Net.WebResponse] $Response)
    $stream = $Response.GetResponseStream()
    if ($null -eq $stream) {
        return ''
    }
    $reader = New-Object -TypeName System.IO.StreamReader -ArgumentList $stream
    try {
        $buffer = New-Object -TypeName 'char[]' -ArgumentList $AnswerCharacters
        $count = $reader.ReadBlock($buffer, 0, $AnswerCharacters)
        (New-Object -TypeName System.String -ArgumentList $buffer, 0, $count).Trim()
    } finally {
        $reader.Dispose()
    }
}

function Send-Heartbeat {
    <#
    .SYNOPSIS
    Sends one message. Returns the HTTP status, 0 when there was no answer, and its text or the complaint. Never throws.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session, [string] $Url, [string] $Body)
    $request = $null
    $response = $null
    try {
        $bytes = [System.Text.Encoding]::UTF8.GetBytes($Body)
        $request = [System.Net.WebRequest]::CreateHttp($Url)
        $request.Method = 'POST'
        $request.ContentType = 'application/json'
        $request.UserAgent = "pvewatch-agent/$PvewatchAgentVersion"
        $request.Headers.Add('Authorization', "Bearer $($Session.Token)")
        $request.Timeout = $SendSeconds * 1000
        $request.ReadWriteTimeout = $SendSeconds * 1000
        $request.KeepAlive = $false
        # The token is for this address and no other.
        $request.AllowAutoRedirect = $false
        # Null is "no proxy"; left alone it would be the system's.
        $proxy = Get-Proxy -Setting $Session.Settings.Proxy
        if ($null -eq $proxy) {
            $request.Proxy = $null
        } else {
            $request.Proxy = $proxy
        }
        if ($null -ne $Session.Authority) {
            $request.ServerCertificateValidationCallback = $Session.Authority.Callback
        }
        $request.ContentLength = $bytes.Length
        $stream = $request.GetRequestStream()
        try {
            $stream.Write($bytes, 0, $bytes.Length)
        } finally {
            $stream.Dispose()
        }
        $response = $request.GetResponse()
        @{ Status = [int] $response.StatusCode; Answer = '' }
    } catch {
        $failure = Get-WebException -Exception $_.Exception
        if ($null -eq $failure) {
            @{ Status = 0; Answer = $_.Exception.Message }
        } elseif ($null -eq $failure.Response) {
            $why = $failure.Message
            if ($null -ne $failure.InnerException) {
                $why = "$why $($failure.InnerException.Message)"
            }
            @{ Status = 0; Answer = $why }
        } else {
            $response = $failure.Response
            $text = ''
            try {
                $text = Read-Answer -Response $response
            } catch {
                $text = 'its answer broke off'
            }
            @{ Status = [int] $response.StatusCode; Answer = $text }
        }
    } finally {
        if ($null -ne $response) {
            $response.Close()
        } elseif ($null -ne $request) {
            # .NET Framework keeps two connections to an address at most: an abandoned one must not stay.
            $request.Abort()
        }
    }
}

function Test-WorthRepeating {
    <#
    .SYNOPSIS
    Whether the same server may take the message in a moment: not after a refusal.
    #>
    [CmdletBinding()]
    param([int] $Status)
    $Status -eq 0 -or $Status -eq 408 -or $Status -ge 500
}

function Get-NextServer {
    <#
    .SYNOPSIS
    The next server after one that has not refused; nothing when all have.
    #>
    [CmdletBinding()]
    param([int] $Server, [int] $Count, [System.Collections.IDictionary] $Refused)
    for ($step = 1; $step -le $Count; $step++) {
        $next = ($Server + $step) % $Count
        if (-not $Refused.Contains($next)) {
            return $next
        }
    }
}

function Send-WithRetry {
    <#
    .SYNOPSIS
    Delivers one heartbeat: after a random time that doubles it tries the next server, or the only one again. The server
    that took it is the first one next time. Each attempt measures anew, so that a message is never late. Returns
    whether it was taken.
    #>
    [CmdletBinding()]
    param([System.Collections.IDictionary] $Session)
    $state = $Session.State
    $urls = $Session.Settings.Urls
    $attempts = [System.Math]::Max($MaxAttempts, $urls.Count)
    $refused = @{}
    $complaint = ''
    $state.Sequence++
    $state.Server = $state.Server % $urls.Count
    for ($attempt = 1; $attempt -le $attempts; $attempt++) {
        $sent = Send-Heartbeat -Session $Session -Url $urls[$state.Server] -Body (Get-AgentPayload -Session $Session)
        if ($sent.Status -ge 200 -and $sent.Status -lt 300) {
            if ($state.Missed -gt 0) {
                Write-AgentEvent -Id 200 -EntryType Information -Message "delivered again after $($state.Missed) missed"
            }
            $state.Missed = [long] 0
            return $true
        }
        $complaint = "not delivered to $($urls[$state.Server]) (HTTP $($sent.Status), $($state.Missed + 1) missed): $($sent.Answer)"
        if (-not (Test-WorthRepeating -Status $sent.Status)) {
            $refused[$state.Server] = $true
        }
        $next = Get-NextServer -Server $state.Server -Count $urls.Count -Refused $refused
        if ($null -eq $next -or $attempt -eq $attempts) {
            break
        }
        $state.Server = $next
        $longest = 1000 * [System.Math]::Pow(2, [System.Math]::Min(3, $attempt))
        Start-Sleep -Milliseconds (Get-Random -Minimum 100 -Maximum ([int] $longest + 100))
    }
    $state.Missed++
    # At the beginning of an outage and then once in a while: a log that fills up helps nobody.
    if ($state.Missed -eq 1 -or $state.Missed % 60 -eq 0) {
        Write-AgentEvent -Id 201 -EntryType Warning -Message $complaint
    }
    return $false
}
