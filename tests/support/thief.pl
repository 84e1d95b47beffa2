#!/usr/bin/perl
# SPDX-License-Identifier: PostgreSQL
# thief.pl: who holds a stolen shipping key and speaks the protocol of agents (frame.h) by hand.
#
#   thief.pl KEY USER PORT POOL FROM TO WHAT
#     encryptions   a stream to PostgreSQL: asks for encryption for ever, and reads no answer
#     pings         the same, and PINGs before, so that the answers fill up everything
#     service N     asks for a stream to service N (1 PostgreSQL, 2 the agent, 3 the relay); prints
#                   "accepted", or the reason why not
#     hello SYSTEM INCARNATION [EPOCH [TIMELINE [HISTORY]]]   wants to ship to it, the same way; as
#                   the primary of that epoch, which is FROM (1, timeline 1); HISTORY is a file
#     dies SYSTEM INCARNATION ...    the same, and then: its PostgreSQL is dead, and has left nothing more
#     promise NONCE EPOCH   asks for a promise of that epoch; prints the words that come
use strict;
use IO::Select;
use IPC::Open2;
my ($key, $user, $port, $pool, $from, $to, $what, $service, $incarnation, $epoch, $timeline, $file) = @ARGV;
my $history = "";
if (defined $file) { local $/; open my $h, "<", $file or die "$file: $!"; $history = <$h> }
$SIG{PIPE} = sub { print "hung up\n"; exit 0 };
my $ssh = open2(my $out, my $in, "ssh", "-i", $key, "-p", $port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
    "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "$user\@127.0.0.1", "walferry receive");
END { kill "TERM", $ssh if $ssh }

sub frame { my ($type, $body) = @_; pack "NCa*", 1 + length $body, $type, $body }
$in->blocking(0);
sub say_all { # false: nobody has taken anything for 3 s
    my ($bytes) = @_;
    while (length $bytes) {
        IO::Select->new($in)->can_write(3) or return 0;
        my $n = syswrite $in, $bytes;
        substr $bytes, 0, $n, "" if $n;
    }
    1;
}
sub hear { my ($n) = @_; my $got = ""; while (length $got < $n) { sysread($out, $got, $n - length $got, length $got) or return } $got }
my $begun;
sub data { # one raw block of a zstd stream
    my ($bytes) = @_;
    my $zstd = ($begun++ ? "" : pack "H*", "28b52ffd0050") . substr(pack("V", length($bytes) << 3), 0, 3) . $bytes;
    frame(15, pack "Na*", length $bytes, $zstd);
}

if ($what eq "promise") { # the number of the epoch is behind the nonce
    say_all(frame(1, pack "a4nnZ*Q>NnZ*Z*Q>Z*Q>CNQ>CZ*N", "WFRY", 5, 5, $pool, 1, 16 << 20, 15, $from, $to, $incarnation, $from, $service, 255,
        1, 0, 1, $from, 0));
    while (my ($n, $type) = unpack "NC", hear(5) // "") {
        my $body = hear($n - 1);
        print +("ask", "give", "refuse", "return")[unpack("C", $body) - 1], "\n" if $type == 18;
    }
    exit 0;
}
my $protocol = $ENV{WALFERRY_PROTOCOL} // 5;
my $ships = $what eq "hello" || $what eq "dies";
say_all($ships
    ? frame(1, pack "a4nnZ*Q>NnZ*Z*Q>Z*Q>CNQ>CZ*Na*", "WFRY", $protocol, $protocol, $pool, $service, 16 << 20, 15, $from, $to, $epoch // 1,
        $from, $incarnation, 0, $timeline // 1, 0, 1, $from, length $history, $history)
    : frame(14, pack "nZ*Z*Z*NNCZ*", $protocol, $pool, $from, $to, 0, 0, $what eq "service" ? $service : 1, ""));
if ($what eq "service" || $ships) {
    $| = 1;
    my ($n, $type, $body);
    do { # behind a POOL
        ($n, $type) = unpack "NC", hear(5) // exit 1;
        $body = hear($n - 1);
    } while $type == 10;
    print $type == 2 ? "accepted\n" : (split /\0/, substr($body, 9))[-1] . "\n";
    exit 0 if $what ne "dies" || $type != 2;
    my $drained = 0;
    do {
        say_all(frame(8, $body . pack "a8Q>C", $body, time() * 1_000_000, 3)) if $type == 7;
        say_all(frame(12, pack "Q>CNQ>Z*", $drained++, 1, 1, 0, "")) if $type == 11 || $type == 2;
        ($n, $type) = unpack "NC", hear(5) // exit 0;
        $body = hear($n - 1);
    } while $type != 13;
    print "it ends: ", unpack("Z*", $body), "\n";
    exit 0;
}
my $taken = 1;
$taken &&= say_all(frame(7, "\0" x 8) x 1000) for 1 .. ($what eq "pings" ? 400 : 0);
$taken &&= say_all(data(pack("NN", 8, 80877103) x 15000)) for 1 .. 200;
$SIG{ALRM} = sub { print "taken\n"; exit 0 };
alarm 20;
1 while hear(1);
print "hung up\n";
