# SPDX-License-Identifier: PostgreSQL
#
# Loaded before a test of PostgreSQL's own (perl -MWalferry): a standby that the test sets up with
# has_streaming gets its WAL through walferry instead. Each such standby is a pool of two members: an
# agent beside the server that it copies (`source`), an agent beside itself, sshd between them, and
# primary_conninfo names the relay. The test itself is not changed.
#
# What remains PostgreSQL's own streaming: a standby of a server that is a standby itself, and a
# primary_conninfo that a test writes by hand.
#
# What PostgreSQL's clean stop promises, a standby that has everything, it promises to who is connected:
# nobody is killed meanwhile; and the promotion that follows waits until the standby has what its spool
# has, as `walferry failover` does.
#
# WALFERRY: the program. WALFERRY_KILL=1: each agent is killed (-9) every other second and started again.
package Walferry;
use strict;
use warnings;
use File::Temp ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use Time::HiRes qw(sleep);

my $binary = $ENV{WALFERRY} or die "WALFERRY is not set";
my $owner  = $$;
my $user   = getpwuid $<;
my $home;        # short, and TMPDIR, too: the path of a socket has 107 bytes
my $sshd;        # {port, pid, host_key}
my %link;        # by the standby's name: {name, of, dir, application, slot, keepers}
my $links = 0;

# feedback_keep: a standby that is away holds back vacuum no longer, as with a walsender without a slot
# (043_vacuum_horizon_floor).
#
# 007 asks who is synchronous: that is the agent beside the standby, and a standby that stops is a site lost.
my $sites_stop = $0 =~ /007_sync_rep/;

sub slurp { open my $f, '<', $_[0] or return ''; local $/; return <$f> // '' }

sub spill {
	my ($path, $text) = @_;
	open my $f, '>>', $path or die "$path: $!";
	print $f $text;
	close $f or die "$path: $!";
	chmod 0600, $path;
}

sub until_true {
	my ($what, $true) = @_;
	for (1 .. 600) { return if $true->(); sleep 0.1 }
	die "walferry: $what did not happen";
}

# A process that no test waits for. LOG COMMAND ...
sub background {
	my ($log, @command) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	POSIX::setsid();
	open STDIN,  '<',  '/dev/null';
	open STDOUT, '>>', $log;
	open STDERR, '>&', \*STDOUT;
	exec @command or POSIX::_exit(127);
}

sub make_key {
	system("ssh-keygen -q -t ed25519 -N '' -f '$_[0]' </dev/null >/dev/null 2>&1") == 0
	  or die "walferry: ssh-keygen failed";
}

sub start_sshd {
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	make_key("$home/host");
	spill("$home/keys", '');
	spill("$home/sshd", <<"END");
Port $port
ListenAddress 127.0.0.1
HostKey $home/host
PidFile none
AuthorizedKeysFile $home/keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
END
	my $pid = background("$home/sshd.log", '/usr/sbin/sshd', '-D', '-e', '-f', "$home/sshd");
	until_true("sshd's start", sub { slurp("$home/sshd.log") =~ /listening/i });
	my ($host_key) = `ssh-keygen -lf $home/host.pub` =~ /(SHA256:\S+)/;
	return { port => $port, pid => $pid, host_key => $host_key };
}

# A process that keeps an agent, until it is told to end.
sub keep_agent {
	my ($dir, $member) = @_;
	my $keeper = fork // die "fork: $!";
	return $keeper if $keeper;
	my $agent;
	$SIG{TERM} = sub { kill 'TERM', $agent; waitpid $agent, 0; POSIX::_exit(0) };
	for (;;) {
		$agent = background("$dir/$member.log", $binary, 'agent', '--config', "$dir/ini", '--member', $member);
		if ($ENV{WALFERRY_KILL}) {
			sleep 1.5 + rand;
			sleep 0.1 while -e "$home/hold";
			kill 'KILL', $agent;
		}
		waitpid $agent, 0;
		sleep 0.1;
	}
}

sub keep_agents {
	my ($link) = @_;
	$link->{keepers} = [ map { keep_agent($link->{dir}, $_) } 'source', $link->{member} ];
}

sub end_agents {
	my ($link) = @_;
	kill 'TERM', @{ $link->{keepers} };
	waitpid $_, 0 for @{ $link->{keepers} };
	$link->{keepers} = [];
}

sub end_link {
	my ($link) = @_;
	end_agents($link);
	delete $link{ $link->{name} };
}

# The standby has received what its spool has; a test that promotes another one waits in vain.
sub drain {
	my ($link, $standby) = @_;
	my $number = sub { my ($high, $low) = ($_[0] // '') =~ m{^([0-9A-F]+)/([0-9A-F]+)$} or return; hex($high) << 32 | hex $low };
	for (1 .. 100) {
		my $spool = $number->(`$binary status --json --config $link->{dir}/ini --member $link->{member} 2>/dev/null | jq -r .spool.flushed`);
		my $here = $number->(($standby->psql('postgres', 'SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())'))[1]);
		return if defined $spool && defined $here && $here >= $spool;
		sleep 0.1;
	}
}

# A server stops cleanly: only with all of its links there.
sub stop_cleanly {
	my ($node, $stop) = @_;
	my @links = $ENV{WALFERRY_KILL} && $node->{_pid} ? grep { $_->{of} eq $node->name } values %link : ();
	return $stop->() if !@links;
	spill("$home/hold", '');
	for my $link (@links) {
		until_true("the link to $link->{name}", sub {
			($node->psql('postgres', "SELECT 1 FROM pg_stat_replication WHERE application_name = '$link->{application}'"))[1] });
	}
	my $back = $stop->();
	unlink "$home/hold";
	return $back;
}

sub section {
	my ($dir, $site, $member, $node) = @_;
	my ($host, $port, $pgdata, $bindir) = ($node->host, $node->port, $node->data_dir, $node->config_data('--bindir'));
	return <<"END";
[member $member]
site = $site
ssh = $user\@127.0.0.1:$sshd->{port}
host_key = $sshd->{host_key}
identity = $dir/$site-key
postgres = host=$host port=$port user=$user dbname=postgres
pgdata = $pgdata
bindir = $bindir
spool = $dir/$site-spool
run = $dir/$site-run
END
}

sub make_link {
	my ($standby, $root) = @_;
	my ($name, $of) = ($standby->name, $root->name);
	(my $member = lc $name) =~ tr/a-z0-9/-/c;             # as the name of a slot wants it
	(my $application = "walferry_$member") =~ tr/-/_/;
	$home //= File::Temp->newdir('wft-XXXXXX', TMPDIR => 1);
	$sshd //= start_sshd();
	end_link($_) for grep { $_->{name} eq $name || $_->{name} eq $of && $_->{of} eq $name } values %link;
	my $dir = "$home/" . ++$links;
	mkdir $_, 0700 for $dir, map { ("$dir/$_-run", "$dir/$_-spool") } qw(near far);
	my %who = (near => 'source', far => $member);
	for my $site (qw(near far)) {
		my ($peer) = grep { $_ ne $who{$site} } values %who;
		make_key("$dir/$site-key");
		spill("$home/keys",
			"restrict,command=\"$binary receive --config $dir/ini --member $peer --from $who{$site}\" " . slurp("$dir/$site-key.pub"));
	}
	spill("$dir/ini", "[pool]\nname = $member\nhome = near\nfeedback_keep = 1ms\n" . section($dir, 'near', 'source', $root) . section($dir, 'far', $member, $standby));
	$link{$name} = {
		name => $name, of => $of, dir => $dir, application => $application, member => $member };
	keep_agents($link{$name});
	# a test may pause a standby's replay before its walreceiver has started: PostgreSQL starts none then
	until_true("the link to $name", sub { slurp("$dir/$member.log") =~ /link from source: up/ }) if $root->{_pid};
	return $link{$name};
}

# ---- in place of PostgreSQL::Test::Cluster's own

my %plain = map { $_ => PostgreSQL::Test::Cluster->can($_) } qw(enable_streaming append_conf psql poll_query_until start stop promote);
no warnings 'redefine';

*PostgreSQL::Test::Cluster::enable_streaming = sub {
	my ($self, $root) = @_;
	return $plain{enable_streaming}->($self, $root) if -e $root->data_dir . '/standby.signal';
	my ($name, $link) = ($self->name, make_link($self, $root));
	print "### Enabling streaming through walferry for node \"$name\"\n";
	$self->append_conf($self->_recovery_file, <<"END");
primary_conninfo = 'host=$link->{dir}/far-run port=5432 user=$user application_name=$name'
wal_retrieve_retry_interval = 500ms
END
	$self->set_standby_mode();
};

# A standby's name, and the slot that a test made for it, are the link's on the server it copies.
sub translate {
	my ($node, $text) = @_;
	return $text if !defined $text;
	$text =~ s/(synchronous_standby_names\s*=\s*')([^']*)'/
		"$1" . ($2 =~ s{\b(?!FIRST\b|ANY\b)([A-Za-z]\w*)}{walferry_$1}gr) . "'"/gie;
	$text =~ s/(max_replication_slots\s*=\s*)(\d+)/$1 . ($2 + 4)/e;    # the link has one
	$text =~ s/(pg_drop_replication_slot\(slot_name\) FROM pg_replication_slots)\s*;?\s*$/$1 WHERE slot_name !~ '^walferry_'/;
	for my $link (grep { $_->{of} eq $node->name } values %link) {
		$text =~ s/(application_name\s*=\s*|application_name IN \()'$link->{name}'/$1'$link->{application}'/g;
		$text =~ s/'$link->{slot}'/'$link->{application}'/g if $link->{slot} && $text !~ /_replication_slot\(/;
	}
	return $text;
}

*PostgreSQL::Test::Cluster::append_conf = sub {
	my ($self, $file, $text) = @_;
	my $link = $link{ $self->name };
	$link->{slot} = $1 if $link && $text =~ /primary_slot_name\s*=\s*'?(\w+)/;
	return $plain{append_conf}->($self, $file, translate($self, $text));
};

*PostgreSQL::Test::Cluster::poll_query_until = sub {
	my ($self, $database, $sql, $expected) = @_;
	for my $link (grep { $_->{of} eq $self->name } values %link) {
		$expected =~ s/^\Q$link->{name}\E\|/$link->{application}|/mg if defined $expected;
	}
	return $plain{poll_query_until}->($self, $database, translate($self, $sql), $expected);
};

*PostgreSQL::Test::Cluster::start = sub {
	my ($self, @rest) = @_;
	my $link = $link{ $self->name };
	keep_agents($link) if $link && !@{ $link->{keepers} };
	return $plain{start}->($self, @rest);
};

*PostgreSQL::Test::Cluster::stop = sub {
	my ($self, $mode, @rest) = @_;
	my $stop = sub { $plain{stop}->($self, $mode, @rest) };
	end_agents($link{ $self->name }) if $sites_stop && $link{ $self->name };
	return ($mode // 'fast') eq 'immediate' ? $stop->() : stop_cleanly($self, $stop);
};

*PostgreSQL::Test::Cluster::promote = sub {
	my ($self) = @_;
	drain($link{ $self->name }, $self) if $link{ $self->name };
	return $plain{promote}->($self);
};

*PostgreSQL::Test::Cluster::psql = sub {
	my ($self, $database, $sql, %params) = @_;
	my @call = ($self, $database, translate($self, $sql), %params);
	my @back = wantarray ? $plain{psql}->(@call) : scalar $plain{psql}->(@call);
	if (($sql // '') =~ /pg_stat_replication/) {
		for ($params{stdout} ? ${ $params{stdout} } : $back[1]) { s/\bwalferry_(?=\w)//g if defined }
	}
	return wantarray ? @back : $back[0];
};

END {
	if ($$ == $owner) {
		my $code = $?;
		end_link($_) for values %link;
		kill 'TERM', $sshd->{pid} if $sshd;
		for my $log ($code && $home ? glob "$home/*/*.log" : ()) {
			my @lines = split /\n/, slurp($log);
			print "# --- $log\n", map { "# $_\n" } @lines > 20 ? @lines[ -20 .. -1 ] : @lines;
		}
		$? = $code;
	}
}
1;
