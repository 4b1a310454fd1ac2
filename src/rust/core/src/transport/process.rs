//! Runs one program to its end, within limits. The only place that starts a process.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Patience;

/// How a program ended.
#[derive(Debug)]
pub enum End {
    /// By itself, or by somebody's signal.
    Exited(ExitStatus),
    /// Ended by us: the time limit was over.
    TimedOut,
    /// Ended by us: the user wants to stop.
    Interrupted,
}

/// What a program left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// What it wrote to stdout, until then.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, until then.
    pub stderr: Vec<u8>,
}

/// How long to wait for the ends of the streams once the program is gone. Something that it started (a login helper)
/// may hold them open for ever.
const STREAMS_AFTER_EXIT: Duration = Duration::from_millis(500);

/// Starts a program with arguments (no shell), waits for its end, and gives back what it wrote.
///
/// It gets no stdin and a process group of its own: Ctrl-C at the console reaches R alone, and when we end the program
/// we end whatever it started with it. It is reaped in every case.
///
/// Errors: it cannot be started or waited for.
pub fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A], patience: &Patience<'_>) -> io::Result<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut running = Running(command.spawn()?);

    let (done, streams) = mpsc::channel();
    let stdout = read_in_background(running.0.stdout.take(), done.clone())?;
    let stderr = read_in_background(running.0.stderr.take(), done)?;
    let end = wait(&mut running, &streams, patience)?;
    Ok(Output {
        end,
        stdout: take(&stdout),
        stderr: take(&stderr),
    })
}

/// A child that is ended and reaped when this is dropped, whatever happens in between.
struct Running(Child);

impl Running {
    /// Ends the program and all that it started.
    fn end_group(&mut self) {
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

fn wait(running: &mut Running, streams: &mpsc::Receiver<()>, patience: &Patience<'_>) -> io::Result<End> {
    let mut open_streams = 2;
    let mut exited: Option<(ExitStatus, Instant)> = None;
    loop {
        if exited.is_none() {
            exited = running.0.try_wait()?.map(|status| (status, Instant::now()));
        }
        if let Some((status, since)) = exited {
            if open_streams == 0 {
                return Ok(End::Exited(status));
            }
            if since.elapsed() >= STREAMS_AFTER_EXIT {
                running.end_group();
                return Ok(End::Exited(status));
            }
        } else if patience.is_over() {
            running.end_group();
            return Ok(End::TimedOut);
        }
        if patience.is_interrupted() {
            running.end_group();
            return Ok(End::Interrupted);
        }
        // The end of a stream wakes us at once; after the last one the program itself ends within a moment.
        let look = if open_streams == 0 || exited.is_some() {
            Duration::from_millis(1)
        } else {
            patience.next_look()
        };
        match streams.recv_timeout(look) {
            Ok(()) => open_streams -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                open_streams = 0;
                thread::sleep(look);
            }
        }
    }
}

/// Reads a stream to its end in a thread of its own, so that neither stream can block the other, and says so on `done`.
fn read_in_background(
    stream: Option<impl Read + Send + 'static>,
    done: mpsc::Sender<()>,
) -> io::Result<Arc<Mutex<Vec<u8>>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let Some(mut stream) = stream else {
        // Gone already: nothing to read, and the receiver must not wait for it.
        let _ = done.send(());
        return Ok(collected);
    };
    let target = Arc::clone(&collected);
    thread::Builder::new().name("abba-reader".into()).spawn(move || {
        leave_signals_to_main_thread();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => lock(&target).extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // The other side is gone when it did not want to wait any longer.
        let _ = done.send(());
    })?;
    Ok(collected)
}

/// R's signal handlers expect to run in R's own thread.
fn leave_signals_to_main_thread() {
    #[cfg(unix)]
    {
        // Fails only for an invalid request, which this is not.
        let _ = nix::sys::signal::SigSet::all().thread_block();
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(bytes: &Mutex<Vec<u8>>) -> Vec<u8> {
    std::mem::take(&mut lock(bytes))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn shell(script: &str, patience: &Patience<'_>) -> Output {
        run(Path::new("/bin/sh"), &["-c", script], patience).unwrap()
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
        let patience = Patience::new(Duration::from_secs(60), &never);
        let output = shell(
            "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 3",
            &patience,
        );
        assert_eq!((output.stdout.len(), output.stderr.len()), (3_000_000, 3_000_000));
        assert!(matches!(output.end, End::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn the_time_limit_ends_it_with_all_it_started() {
        let patience = Patience::new(Duration::from_millis(300), &never);
        let output = shell("sleep 1000 & echo $! $$; wait", &patience);
        assert!(matches!(output.end, End::TimedOut));
        for id in String::from_utf8(output.stdout).unwrap().split_whitespace() {
            wait_until_gone(id);
        }
    }

    #[test]
    fn an_interrupt_ends_it() {
        let looks = Cell::new(0);
        let third_time = || {
            looks.set(looks.get() + 1);
            looks.get() >= 3
        };
        let patience = Patience::new(Duration::from_secs(600), &third_time);
        let output = shell("echo $$; exec sleep 1000", &patience);
        assert!(matches!(output.end, End::Interrupted));
        assert_eq!(looks.get(), 3);
        wait_until_gone(&String::from_utf8(output.stdout).unwrap());
    }

    #[test]
    fn a_helper_that_keeps_the_streams_open_does_not_hold_us() {
        let patience = Patience::new(Duration::from_secs(600), &never);
        let output = shell("sleep 1000 & echo $!", &patience);
        assert!(matches!(output.end, End::Exited(status) if status.success()));
        wait_until_gone(&String::from_utf8(output.stdout).unwrap());
    }

    #[test]
    fn a_program_that_closes_its_streams_is_waited_for() {
        let patience = Patience::new(Duration::from_secs(60), &never);
        let output = shell("exec >&- 2>&-; sleep 0.2; exit 7", &patience);
        assert!(matches!(output.end, End::Exited(status) if status.code() == Some(7)));
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
