"""The runner of hosts that have perl: the conversation of ``runner_script`` with less work on the host.

The login shell becomes a perl that reads this program from the channel and then jobs. A command's bash is
forked, put into a session of its own and given the channel's streams; its script comes through a pipe, once
all of it has arrived. Perl adopts whatever outlives its parents (``PR_SET_CHILD_SUBREAPER``): those who may
still hold the streams are its own children and theirs, and nobody else need be looked at.

The first command of a channel finds a bash that has been started beforehand; the next one only when a second
command has come, since most channels of a large fleet see one. Only what perl has without any module is used:
its modules take longer to load than a command takes. Pure text; it knows nothing of connections.
"""

from __future__ import annotations

import re

from dlpx_remote.transports.ssh.bootstrap import Token
from dlpx_remote.transports.ssh.facts import LOCALE_FUNCTION
from dlpx_remote.transports.ssh.runner_script import STALE, job_of_spare, payload_reader

EXEC = "exec perl"
"""What the exec request holds; read by the account's login shell, so nothing but plain words."""

LAST = b"\n__END__\n"
"""How the program ends."""

LACKING = "perl: "
"""How a refusal begins that says nothing about a runner without perl."""

# The job comes on stdin, which commands do not have.
_JOB = "exec 9<&0 </dev/null; " + job_of_spare("read -ru 9 _dlpx_mode _dlpx_length || exit")
_CHECK = "((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 401)) || { kill -USR1 $PPID; exit; }; "

# Most connections need none of this, and perl takes as long to read it as to start: read when first needed.
_SELDOM = r"""
sub file { local $/; open my $file, '<', $_[0] or return; scalar <$file> }
sub fields { my $stat = file("/proc/$_[0]/stat") or return; $stat =~ s/.*\) //s; split ' ', $stat }
sub children { # PROCESS: those of all its threads
  my @found;
  opendir my $tasks, "/proc/$_[0]/task" or return;
  for (readdir $tasks) { push @found, split ' ', file("/proc/$_[0]/task/$_/children") if /^\d/ }
  @found;
}
sub holds { # PROCESS: whether it has the streams; what cannot be looked into has
  my $process = shift;
  if (opendir my $files, "/proc/$process/fd") {
    for (readdir $files) {
      my @file = stat "/proc/$process/fd/$_" or next;
      for (*STDOUT, *STDERR) { my @ours = stat $_; return 1 if "@file[0, 1]" eq "@ours[0, 1]" }
    }
    return;
  }
  my ($state) = fields($process);
  defined $state && $state !~ /[ZX]/;
}
sub hold { # whether a process that came with a command has the streams
  for (1 .. 5) {
    reap();
    my @before = others() or return;
    my @left = @before;
    # Its files before its children: a child that it starts after that has them from it.
    while (defined(my $process = shift @left)) { return 1 if holds($process); push @left, children($process) }
    return if "@before" eq join ' ', others(); # nobody came to us meanwhile
  }
  1;
}
sub holding { # the same, after a moment for those that are about to end
  for (1 .. 5) { hold() or return 0; select undef, undef, undef, 0.01 }
  hold() || 0;
}
sub refuse { report(*STDOUT, "N:$_[0]"); exit if !$number; leave() }
sub retry { # a command has no bash yet, and no process could be had for it
  refuse('bash is older than 4.1') if $old;
  for (1 .. 40) { return 1 if start(); select undef, undef, undef, 0.05 }
  report(*STDOUT, 'X:it cannot start any process');
  0;
}
sub files { # that runners left
  map {
    opendir my $all, my $place = $_;
    map { "$place/$_" } grep { /^\.dlpx-remote\.\d/ } readdir $all;
  } @places;
}
sub forget { # NAME:WATCHER:BORN of those that nobody asks for: end what still waits, and remove what was left
  for (@_) {
    my (undef, $process, $born) = split /:/;
    kill 'KILL', $process if $process && (fields($process))[19] eq $born;
  }
  for my $file (files()) {
    my ($name) = $file =~ /(\w+)\.\d+\.[-\w]+$/ or next;
    report(*STDOUT, "G:$name") if grep { /^$name:/ } @_ and unlink $file;
  }
}
sub tidy { # remove what nobody has come to ask for
  for (map { /\.dlpx-remote\.(\d+)\./ && time - $1 >= @STALE@ ? $_ : () } files()) { unlink if -o }
}
sub leave { # tell those who come later how the last command ended
  $SIG{HUP} = 'IGNORE';
  umask 077;
  my $mine = '.dlpx-remote.' . time . ".$name.$number.$code";
  for (@places) { last if sysopen my $file, "$_/$mine", 0301, 0600 }
  exit;
}
sub numbers { # of setsid, prctl and dup3 on machines of class.machine (elf(5))
  @{ {
    '2.183' => [157, 167, 24], '2.243' => [157, 167, 24], '2.22' => [66, 172, 326], '2.21' => [66, 171, 316],
    '1.3' => [66, 172, 330], '1.40' => [66, 172, 358]
  }->{$_} || refuse('@LACKING@no such machine is known') };
}
sub locale { # where the usual place says nothing, what bash itself takes for one
  open my $answer, '-|', $bash, '--noprofile', '--norc', '-c', @LOCALE@;
  my $line = <$answer>;
  chomp $line;
  $line;
}
"""

# Kernel calls are made by their numbers, which the kind of perl's own file tells: names would take a module.
_PROGRAM = r"""
$_ = <DATA>;
exit unless /\n\z/;
($first, $second, $name, @forget) = split;
($mark, $number, $code, $me) = ($first . $second, 0, '-', $$);
@places = grep { defined $_ && -d $_ } $ENV{TMPDIR}, '/tmp', '/dev/shm', '/var/tmp', $ENV{HOME};

sub put { # FILE, TEXT: all of it, whatever signals come
  while (length $_[1]) {
    my $taken = syswrite $_[0], $_[1];
    if (defined $taken) { substr $_[1], 0, $taken, '' } elsif ($! != 4) { return }
  }
  1;
}
sub report { put($_[0], "$mark:$_[1]\n") }
sub seldom { my $do = shift; if ($seldom) { eval $seldom; $seldom = '' } &$do }
sub reap { while (($child = waitpid(-1, 1)) > 0) { $ended{$child} = $? } }
sub start { # a bash that waits for a job
  pipe my $read, my $write or return;
  my $child = fork;
  if (!$child) {
    return unless defined $child;
    syscall $dup3, fileno $read, 0, 0;
    syscall $setsid;
    exec $bash, '--noprofile', '--norc', '-c', $job, 'bash', $payload, $locale;
    kill 'KILL', $$;
  }
  ($spare, $gate) = ($child, $write);
}
sub others { # our children: all that outlived their parents, and the spare, which does not count
  my $children = '';
  sysseek CHILDREN, 0, 0;
  1 while sysread CHILDREN, $children, 65536, length $children;
  grep { $_ != $spare } split ' ', $children;
}

$SIG{CHLD} = 'DEFAULT';
$SIG{PIPE} = sub { }; # not ignored, which commands would inherit
$SIG{HUP} = sub { $lost = 1; seldom('leave') if $waiting };
$SIG{USR1} = sub { $old = 1 };
open EXE, '<', '/proc/self/exe' and read(EXE, $head, 20) == 20 and open STAT, '<', "/proc/$$/stat"
  and -r '/proc/1/stat' and open CHILDREN, '<', "/proc/$$/task/$$/children"
  or seldom('refuse', '@LACKING@/proc does not show the processes of others');
$_ = ord(substr $head, 4) . '.' . unpack 'S', substr $head, 18;
($setsid, $prctl, $dup3) = $_ eq '2.62' ? (112, 157, 292) : seldom('numbers');
syscall($prctl, 36, 1, 0, 0, 0) == 0
  or seldom('refuse', '@LACKING@the kernel does not let it adopt processes');
($bash) = grep { -x $_ && -f _ } map { "$_/bash" } split /:/, $ENV{PATH}
  or seldom('refuse', 'bash is missing');
($check, $job, $payload) = (@CHECK@, @JOB@, @PAYLOAD@);
# What a start-up file of every bash says is no output, and bash begins faster without a locale of its own;
# login shells and children of commands still find the account's.
for (qw(LC_ALL BASH_ENV)) {
  my $value = $ENV{$_};
  $value =~ s/'/'\\''/g;
  $own{$_} = defined $ENV{$_} ? "export $_='$value'" : "unset $_";
}
$job =~ s/\@LC_ALL\@/$own{LC_ALL}/;
$job = "$own{BASH_ENV}; $job" if defined delete $ENV{BASH_ENV};
$ENV{LC_ALL} = 'C';
$locale = -d '/usr/lib/locale/C.utf8' || -d '/usr/lib/locale/C.UTF-8' ? 'C.UTF-8' : seldom('locale');
seldom('forget', @forget) if @forget;
$job = $check . $job;
start();
$job = substr $job, length $check;
$born = (split ' ', substr($_ = <STAT>, rindex($_, ')') + 2))[19];
close EXE;
close STAT;
# Where nobody listens any more, nothing is begun.
report(*STDERR, 'W:') && report(*STDOUT, join ' ', "W:$$ $born", $spare || ()) or exit;
while (1) {
  if ($left) { $SIG{CHLD} = \&reap; reap() } # they may end while nothing runs
  $waiting = 1;
  seldom('leave') if $lost;
  $line = <DATA>;
  $waiting = 0;
  $SIG{CHLD} = 'DEFAULT' if $left;
  ($mode, $length) = $line =~ /^([RLQ])(?: (\d+))?\n\z/ or last;
  exit if $mode eq 'Q';
  $number++;
  $code = 'n';
  read(DATA, $script, $length) == $length or last;
  if (!$spare || exists $ended{$spare} || waitpid($spare, 1) == $spare) {
    $spare = 0;
    $old || !start() and seldom('retry') || last;
    report(*STDOUT, "P:$spare");
  }
  ($command, $spare, $code) = ($spare, 0, 'r');
  put($gate, "$mode $length\n$script");
  close $gate;
  start() if $number > 1; # whoever has sent two will send more
  seldom('tidy') if $number == 2;
  until (exists $ended{$command}) {
    $child = waitpid(-1, 0);
    if ($child > 0) { $ended{$child} = $? } elsif ($! != 4) { last }
  }
  if ($old) { $code = 'n'; seldom('refuse', 'bash is older than 4.1') }
  $status = $ended{$command};
  $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
  $left = others();
  $held = $left ? seldom('holding') : 0;
  $spare = 0 if exists $ended{$spare};
  %ended = ();
  report(*STDERR, "E:$code");
  report(*STDOUT, join ' ', "E:$code", $held, $spare || ()) or last;
  last if $lost;
}
seldom('leave');
__END__
"""


def _program() -> bytes:
    """The program, with its parts in their places."""
    locale = LOCALE_FUNCTION.decode() + "utf8_locale; echo $locale"
    seldom = _SELDOM.replace("@LOCALE@", _quoted(locale)).replace("@LACKING@", LACKING)
    text = f"$seldom = {_quoted(seldom.replace('@STALE@', str(STALE)))};\n{_PROGRAM}"
    for name, value in (
        ("@LACKING@", LACKING),
        ("@JOB@", _quoted(_JOB)),
        ("@CHECK@", _quoted(_CHECK)),
        ("@PAYLOAD@", _quoted(payload_reader("exit 97"))),
    ):
        text = text.replace(name, value)
    return re.sub(r"(?m)^\s+|(^|\s+)# .*$", "", text).encode()


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


PROGRAM = _program()
"""What perl reads first; the same for every connection, in plain ASCII."""


def opening(token: Token, name: str, *, forget: tuple[str, ...] = ()) -> bytes:
    """What starts a runner, to be sent to a perl that reads its program from stdin.

    Args:
        token, name, forget: as in :func:`dlpx_remote.transports.ssh.runner_script.opening`.
    """
    return PROGRAM + " ".join((*token.halves, name, *forget)).encode() + b"\n"
