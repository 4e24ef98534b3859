#!/usr/bin/env perl
# One of the programs of fake_pve_host.py: says under which name and with which arguments it was run, and passes on what
# it is told to print and how to exit. Perl, because it starts in a few milliseconds and setup-token.sh needs it anyway.
use strict;
use warnings;
use Socket qw(PF_INET SOCK_STREAM INADDR_LOOPBACK SHUT_WR pack_sockaddr_in);

socket(my $test, PF_INET, SOCK_STREAM, 0) or die "no socket: $!";
connect($test, pack_sockaddr_in($ENV{FAKE_PVE_PORT}, INADDR_LOOPBACK)) or die "the test does not listen: $!";
my ($name) = $0 =~ m{([^/]+)$};
my @wishes = map { $_ // '' } @ENV{qw(FAKE_PVE_REFUSES FAKE_PVE_IGNORES FAKE_PVE_USER)};
my $call = join '', map { "$_\0" } @wishes, $name, @ARGV;
while (length $call) {
    my $sent = syswrite($test, $call) // die "the test does not take the call: $!";
    substr($call, 0, $sent, '');
}
shutdown($test, SHUT_WR);
my $told = do { local $/; <$test> } // die 'the test does not answer';
my ($code, $out, $err) = split /\0/, $told, 3;
print {*STDOUT} $out;
print {*STDERR} $err;
exit $code;
