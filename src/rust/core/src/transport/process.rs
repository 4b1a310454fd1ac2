//! Runs one program to its end, within limits. With [`super::session`] and [`super::responder`], which keep one, the only
//! place that starts a process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::Deadline;

/// How a program ended.
#[derive(Debug)]
pub enum End {
    /// By itself, or by somebody's signal.
    Exited(ExitStatus),
    /// In a way that nobody can know: where SIGCHLD is ignored, which a process inherits, the system keeps no exit status.
    Unseen,
    /// Ended by us: the time limit was over.
    TimedOut,
    /// Ended by us: the user wants to stop.
    Interrupted,
    /// Ended by us: nobody wants more of its output.
    BrokenOff,
}

/// How often in a row nothing may come from the streams, a millisecond each time, before they are left once the program is
/// gone. Something that it started (a login helper) may hold them open for ever. It is no time on the clock: where this
/// process stands still for a while, or is busy with what has come, the rest of the answer still waits to be taken.
const QUIET_LOOKS: u32 = 500;

/// Keeps kubectl from the user's own defaults and aliases, which are made for people at a terminal.
/// <https://kubernetes.io/docs/reference/kubectl/kuberc/>
pub const KUBERC: (&str, &str) = ("KUBERC", "off");

/// How much of a stream is read at once.
const PART_BYTES: usize = 64 * 1024;

/// How many parts may wait for us before the program has to.
pub(super) const PARTS_WAITING: usize = 64;

/// A program under way, for whoever decides how long it is waited for.
pub struct Moment<'a> {
    /// The process group of the program.
    pub group: u32,
    /// What it has written to stderr.
    pub stderr: &'a [u8],
    /// Whether it has written anything to stdout.
    pub has_answered: bool,
}

/// Starts a program with arguments (no shell), hands over what it writes to stdout in parts as it comes, and waits for its
/// end. If `part` breaks off, the program is ended; `wait_on`, which is asked about twenty times a second, breaks off when
/// the time is over. Gives back how it ended and what it wrote to stderr.
///
/// It gets no stdin and a process group of its own: Ctrl-C at the console reaches R alone, and when we end the program
/// we end whatever it started with it. It is reaped in every case.
///
/// Errors: it cannot be started or waited for.
pub fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    deadline: &Deadline<'_>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    wait_on: &mut dyn FnMut(&Moment<'_>) -> ControlFlow<()>,
) -> io::Result<(End, Vec<u8>)> {
    let mut command = Command::new(program);
    command.args(arguments);
    run_command(&mut command, deadline, part, wait_on)
}

/// The same for a program of our own, which is not waited for.
///
/// Errors: as those of [`run`].
pub fn run_own(
    program: &OwnProgram,
    deadline: &Deadline<'_>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<(End, Vec<u8>)> {
    run_command(&mut program.command(), deadline, part, &mut |_| {
        ControlFlow::Continue(())
    })
}

/// A program that does a part of our work in a process of its own. What is set for it is in its environment: a temporary file
/// may be gone when it is started again, and others see its arguments.
#[derive(Clone, Debug, Deserialize)]
pub struct OwnProgram {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl OwnProgram {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(&self.environment);
        command
    }

    /// One that has no arguments.
    #[cfg(test)]
    pub fn at(program: &str) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        }
    }

    /// A script of the shell.
    #[cfg(test)]
    pub fn shell(script: &str) -> Self {
        Self {
            arguments: vec!["-c".into(), script.into()],
            ..Self::at("/bin/sh")
        }
    }
}

fn run_command(
    command: &mut Command,
    deadline: &Deadline<'_>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    wait_on: &mut dyn FnMut(&Moment<'_>) -> ControlFlow<()>,
) -> io::Result<(End, Vec<u8>)> {
    command
        .env(KUBERC.0, KUBERC.1)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::start(command)?;

    let (sender, receiver) = mpsc::sync_channel(PARTS_WAITING);
    read_in_background(running.0.stdout.take(), sender.clone(), Heard::Stdout)?;
    read_in_background(running.0.stderr.take(), sender, Heard::Stderr)?;
    let mut stderr = Vec::new();
    let end = wait(&mut running, &receiver, deadline, part, wait_on, &mut stderr)?;
    Ok((end, stderr))
}

/// The error of waiting for a child of which the system keeps nothing.
#[cfg(unix)]
const NO_CHILD: Option<i32> = Some(nix::errno::Errno::ECHILD as i32);
#[cfg(not(unix))]
const NO_CHILD: Option<i32> = Some(i32::MIN);

/// What comes from the threads that read the streams.
pub(super) enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// One stream has ended.
    Closed,
}

/// A child that is ended and reaped when this is dropped, whatever happens in between.
pub(super) struct Running(pub Child);

impl Running {
    /// Starts a program in a process group of its own.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        spawn(command).map(Self)
    }

    /// Ends the program and all that it started.
    pub fn end_group(&mut self) {
        #[cfg(unix)]
        {
            use nix::sys::signal::{killpg, Signal};
            use nix::unistd::Pid;
            if let Ok(id) = i32::try_from(self.0.id()) {
                // An error says that nobody is left in the group.
                let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
        // An error says that it has ended already.
        let _ = self.0.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.end_group();
        }
        let _ = self.0.wait();
    }
}

fn wait(
    running: &mut Running,
    streams: &Receiver<Heard>,
    deadline: &Deadline<'_>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    wait_on: &mut dyn FnMut(&Moment<'_>) -> ControlFlow<()>,
    stderr: &mut Vec<u8>,
) -> io::Result<End> {
    let mut open_streams = 2;
    let mut exited: Option<Option<ExitStatus>> = None;
    let mut quiet_looks = 0;
    let mut has_answered = false;
    loop {
        if exited.is_none() {
            exited = match running.0.try_wait() {
                Ok(status) => status.map(Some),
                // Nobody keeps its status.
                Err(error) if error.raw_os_error() == NO_CHILD => Some(None),
                Err(error) => return Err(error),
            };
            quiet_looks = 0;
        }
        if let Some(status) = exited {
            let end = || status.map_or(End::Unseen, End::Exited);
            if open_streams == 0 {
                return Ok(end());
            }
            if quiet_looks >= QUIET_LOOKS {
                running.end_group();
                return Ok(end());
            }
        }
        let moment = Moment {
            group: running.0.id(),
            stderr,
            has_answered,
        };
        if wait_on(&moment).is_break() {
            running.end_group();
            hear_the_rest(streams, open_streams, stderr);
            return Ok(End::TimedOut);
        }
        if deadline.is_interrupted() {
            running.end_group();
            return Ok(End::Interrupted);
        }
        // The streams wake us at once; after the end of the last one the program itself ends within a moment.
        let look = if open_streams == 0 || exited.is_some() {
            Duration::from_millis(1)
        } else {
            deadline.poll_interval()
        };
        match streams.recv_timeout(look) {
            Ok(Heard::Stdout(bytes)) => {
                quiet_looks = 0;
                has_answered = true;
                if part(&bytes).is_break() {
                    running.end_group();
                    return Ok(End::BrokenOff);
                }
            }
            Ok(Heard::Stderr(bytes)) => {
                quiet_looks = 0;
                stderr.extend_from_slice(&bytes);
            }
            Ok(Heard::Closed) => open_streams -= 1,
            Err(RecvTimeoutError::Timeout) => quiet_looks += 1,
            Err(RecvTimeoutError::Disconnected) => {
                open_streams = 0;
                thread::sleep(look);
            }
        }
    }
}

/// Takes what a program wrote to stderr before it was ended: its words may have come while this process stood still.
pub(super) fn hear_the_rest(streams: &Receiver<Heard>, mut open_streams: u32, stderr: &mut Vec<u8>) {
    let mut quiet_looks = 0;
    while open_streams > 0 && quiet_looks < QUIET_LOOKS {
        match streams.recv_timeout(Duration::from_millis(1)) {
            Ok(Heard::Stdout(_)) => {}
            Ok(Heard::Stderr(bytes)) => stderr.extend_from_slice(&bytes),
            Ok(Heard::Closed) => open_streams -= 1,
            Err(RecvTimeoutError::Timeout) => quiet_looks += 1,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Reads a stream to its end in a thread of its own, so that neither stream can block the other.
pub(super) fn read_in_background(
    stream: Option<impl Read + Send + 'static>,
    sender: SyncSender<Heard>,
    heard: fn(Vec<u8>) -> Heard,
) -> io::Result<()> {
    let read = move |mut stream: Box<dyn Read + Send>| {
        leave_signals_to_main_thread();
        let mut buffer = vec![0; PART_BYTES];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                // Nobody listens any more: it was broken off.
                Ok(count) => match sender.send(heard(buffer[..count].to_vec())) {
                    Ok(()) => {}
                    Err(_) => return,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(Heard::Closed);
    };
    if let Some(stream) = stream {
        let stream: Box<dyn Read + Send> = Box::new(stream);
        thread::Builder::new()
            .name("abba-reader".into())
            .spawn(move || read(stream))?;
    }
    Ok(())
}

/// Starts a program with no signal blocked. A program inherits what the thread that starts it blocks, which in a thread of
/// ours is everything: a shell would then wait for ever for children that have ended, and nothing but SIGKILL would end
/// kubectl.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, SigmaskHow};
        let blocked = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let child = command.spawn();
        // Fails only for an invalid request, which this is not.
        let _ = blocked.thread_set_mask();
        child
    }
    #[cfg(not(unix))]
    command.spawn()
}

/// Called at the beginning of each thread of ours: R's signal handlers expect to run in R's own.
pub fn leave_signals_to_main_thread() {
    #[cfg(unix)]
    {
        // Fails only for an invalid request, which this is not.
        let _ = nix::sys::signal::SigSet::all().thread_block();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::time::Instant;

    struct Output {
        end: End,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    }

    fn shell(script: &str, deadline: &Deadline<'_>) -> Output {
        let mut stdout = Vec::new();
        let mut part = |part: &[u8]| {
            stdout.extend_from_slice(part);
            ControlFlow::Continue(())
        };
        let arguments = ["-c", script];
        let (end, stderr) = run(
            Path::new("/bin/sh"),
            &arguments,
            deadline,
            &mut part,
            &mut until(deadline),
        )
        .unwrap();
        Output { end, stdout, stderr }
    }

    fn until<'a>(deadline: &'a Deadline<'_>) -> impl FnMut(&Moment<'_>) -> ControlFlow<()> + 'a {
        |_| match deadline.has_passed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn never() -> bool {
        false
    }

    fn alive(id: &str) -> bool {
        // A zombie would still be there: it must be reaped too.
        Path::new("/proc").join(id.trim()).exists()
    }

    #[test]
    fn both_streams_come_back_whole() {
        let deadline = Deadline::new(Duration::from_secs(60), &never);
        let output = shell(
            "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 3",
            &deadline,
        );
        assert_eq!((output.stdout.len(), output.stderr.len()), (3_000_000, 3_000_000));
        assert!(matches!(output.end, End::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn the_time_limit_ends_it_with_all_it_started() {
        let deadline = Deadline::new(Duration::from_millis(300), &never);
        let output = shell("sleep 1000 & echo $! $$; wait", &deadline);
        assert!(matches!(output.end, End::TimedOut));
        for id in String::from_utf8(output.stdout).unwrap().split_whitespace() {
            wait_until_gone(id);
        }
    }

    #[test]
    fn an_interrupt_ends_it() {
        let (stdout, asked) = (RefCell::new(Vec::new()), Cell::new(0));
        // Once it runs, so that there is something to end.
        let once_it_runs = || {
            let runs = !stdout.borrow().is_empty();
            asked.set(asked.get() + u32::from(runs));
            runs
        };
        let deadline = Deadline::new(Duration::from_secs(600), &once_it_runs);
        let mut part = |part: &[u8]| {
            stdout.borrow_mut().extend_from_slice(part);
            ControlFlow::Continue(())
        };
        let arguments = ["-c", "echo $$; exec sleep 1000"];
        let program = Path::new("/bin/sh");
        let (end, _) = run(program, &arguments, &deadline, &mut part, &mut until(&deadline)).unwrap();
        assert!(matches!(end, End::Interrupted));
        // It is asked no more after it has said so.
        assert_eq!(asked.get(), 1);
        wait_until_gone(&String::from_utf8(stdout.take()).unwrap());
    }

    #[test]
    fn what_a_program_has_written_is_taken_whole_however_long_that_takes() {
        let deadline = Deadline::new(Duration::from_secs(600), &never);
        let mut length = 0;
        let (end, _) = run(
            Path::new("/bin/sh"),
            &["-c", "head -c 400000 /dev/zero"],
            &deadline,
            &mut |part| {
                length += part.len();
                // The program is gone long before.
                thread::sleep(Duration::from_millis(600));
                ControlFlow::Continue(())
            },
            &mut until(&deadline),
        )
        .unwrap();
        assert!(matches!(end, End::Exited(status) if status.success()));
        assert_eq!(length, 400_000);
    }

    #[test]
    fn what_a_program_said_before_the_time_limit_is_heard_after_a_standstill() {
        let deadline = Deadline::new(Duration::from_secs(600), &never);
        let mut looks = 0;
        let (end, stderr) = run(
            Path::new("/bin/sh"),
            &["-c", "echo words >&2; echo said; exec sleep 1000"],
            &deadline,
            &mut |_| ControlFlow::Continue(()),
            // The time is over at the next look after those words, at which stdout alone was heard.
            &mut |moment| {
                looks += u32::from(moment.has_answered);
                match looks {
                    0 => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            },
        )
        .unwrap();
        assert!(matches!(end, End::TimedOut));
        assert_eq!(stderr, b"words\n");
    }

    #[test]
    fn a_helper_that_keeps_the_streams_open_does_not_hold_us() {
        let deadline = Deadline::new(Duration::from_secs(600), &never);
        let output = shell("sleep 1000 & echo $!", &deadline);
        assert!(matches!(output.end, End::Exited(status) if status.success()));
        wait_until_gone(&String::from_utf8(output.stdout).unwrap());
    }

    #[test]
    fn a_program_that_closes_its_streams_is_waited_for() {
        let deadline = Deadline::new(Duration::from_secs(60), &never);
        let output = shell("exec >&- 2>&-; sleep 0.2; exit 7", &deadline);
        assert!(matches!(output.end, End::Exited(status) if status.code() == Some(7)));
    }

    #[test]
    fn a_stream_can_be_left() {
        let deadline = Deadline::new(Duration::from_secs(600), &never);
        let mut seen = Vec::new();
        let (end, _) = run(
            Path::new("/bin/sh"),
            &["-c", "echo $$; while :; do echo x; done"],
            &deadline,
            &mut |part| {
                seen.extend_from_slice(part);
                ControlFlow::Break(())
            },
            &mut until(&deadline),
        )
        .unwrap();
        assert!(matches!(end, End::BrokenOff));
        wait_until_gone(String::from_utf8(seen).unwrap().lines().next().unwrap());
    }

    #[test]
    fn what_a_thread_of_ours_starts_can_be_ended_by_a_signal() {
        let output = std::thread::spawn(|| {
            leave_signals_to_main_thread();
            let deadline = Deadline::new(Duration::from_secs(60), &never);
            shell("kill -TERM $$; echo it was blocked", &deadline)
        });
        let output = output.join().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        assert!(matches!(output.end, End::Exited(status) if !status.success()));
    }

    fn wait_until_gone(id: &str) {
        let since = Instant::now();
        while alive(id) {
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "process {id} was left behind"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}
