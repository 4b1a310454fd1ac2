//! The `kubectl proxy` of this process: started on need, watched, replaced, and gone with the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::{access, AccessFlags, Pid};

use super::configuration::Configuration;
use super::WithNothingInherited;
use crate::transport::{process, Deadline, Failure, FailureKind, Kubectl, Transport};

/// Makes the folder $2 for this user alone, and runs kubectl proxy ($1) with its socket in there until standard input ends
/// or SIGTERM comes; then ends it, with all that it started, and removes the folder. Standard input is a pipe from R that
/// nobody writes to: it ends with R, however R ends, SIGKILL included.
///
/// Four processes of one group: this shell; one that waits for the pipe's end; one that waits for kubectl's end; and
/// kubectl. The pipe's end is enough to end them all and remove the folder even where somebody has killed this shell, and
/// where the one at the pipe was killed, this shell does it at once.
///
/// PATH may be anything and may not lead to `rm`. The text is a constant and every path an argument.
const SUPERVISOR: &str = r#"
finish() {
  trap '' TERM
  kill -s TERM 0
  PATH="$PATH:/usr/bin:/bin" rm -rf -- "$2"
  kill -s KILL 0
}
trap 'finish "$@"' TERM
umask 077
exec 3<&0 </dev/null
PATH="$PATH:/usr/bin:/bin" mkdir -- "$2" || exit 1
("$1" proxy --unix-socket="$2/socket" --append-server-path; kill -s TERM 0) 3<&- &
(read -r _ <&3; finish "$@") &
exec 3<&-
wait "$!"
finish "$@"
"#;

/// How often a starting proxy is asked whether it answers. It takes about 60 ms.
const READY_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// A `sockaddr_un` holds 108 bytes on Linux and 104 on macOS.
const LONGEST_SOCKET_PATH: usize = 100;

/// How long the supervisor may take to end, of which it needs a few milliseconds.
const LONGEST_END: Duration = Duration::from_secs(1);

/// After this time a proxy that could not be started is tried again.
const NEXT_ATTEMPT: Duration = Duration::from_secs(60);

/// Where a proxy answers.
#[derive(Clone, Debug)]
pub struct Socket {
    /// The socket's path.
    pub path: PathBuf,
    /// Since when there is this proxy.
    pub started: Instant,
    /// Whether it was started for the call that asked.
    pub new: bool,
    /// Whether the login comes from a login helper.
    pub has_login_helper: bool,
}

/// What is kept between two calls.
struct Kept {
    configuration: Configuration,
    /// The namespace that the configuration names, once somebody has asked.
    namespace: Option<String>,
    proxy: State,
}

enum State {
    /// Nobody has needed it yet.
    NotStarted,
    /// It is being started.
    Starting(Proxy),
    /// It has answered.
    Serving(Proxy),
    /// It could not be started, at this moment.
    Unusable(Instant),
}

struct Proxy {
    folder: PathBuf,
    started: Instant,
    /// The supervising shell, whose standard input, held here, keeps the proxy alive. `None` in a forked child, which uses
    /// the proxy of its parent and leaves it alone.
    supervisor: Option<Child>,
}

impl Proxy {
    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Whether the supervisor is gone, and with it the proxy.
    fn has_ended(&mut self) -> bool {
        let supervisor = self.supervisor.as_mut();
        supervisor.is_some_and(|supervisor| !matches!(supervisor.try_wait(), Ok(None)))
    }

    /// Ends it, if this process started it.
    fn end(self) {
        let Some(mut supervisor) = self.supervisor else {
            return;
        };
        // The end of its standard input is enough, unless a forked child of ours still holds that open.
        drop(supervisor.stdin.take());
        let group = i32::try_from(supervisor.id()).ok().map(Pid::from_raw);
        if let (Some(group), Ok(None)) = (group, supervisor.try_wait()) {
            let _ = kill(group, Signal::SIGTERM);
        }
        let since = Instant::now();
        while matches!(supervisor.try_wait(), Ok(None)) && since.elapsed() < LONGEST_END {
            std::thread::sleep(READY_CHECK_INTERVAL);
        }
        // Nobody should be left of the group, and nothing of the folder; but the supervisor may have been killed.
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = supervisor.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What one process keeps. A forked child of R has a copy of its parent's, whose lock may be held for ever by a thread that
/// the child does not have; so each process has a lock of its own, and the child's is found behind its parent's.
struct PerProcess {
    process: u32,
    kept: Mutex<Option<Kept>>,
    of_forked_child: OnceLock<Box<PerProcess>>,
}

static FIRST_PROCESS: OnceLock<PerProcess> = OnceLock::new();

impl PerProcess {
    fn new(kept: Option<Kept>) -> Self {
        Self {
            process: std::process::id(),
            kept: Mutex::new(kept),
            of_forked_child: OnceLock::new(),
        }
    }

    fn this() -> &'static Self {
        let mut of = FIRST_PROCESS.get_or_init(|| Self::new(None));
        while of.process != std::process::id() {
            of = of.of_forked_child.get_or_init(|| Box::new(Self::new(of.inherited())));
        }
        of
    }

    /// What a forked child of this process may use: the proxy where it serves, without the right to end it.
    fn inherited(&self) -> Option<Kept> {
        let kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let kept = kept.as_ref()?;
        Some(Kept {
            configuration: kept.configuration.clone(),
            namespace: kept.namespace.clone(),
            proxy: match &kept.proxy {
                State::Serving(proxy) => State::Serving(Proxy {
                    folder: proxy.folder.clone(),
                    started: proxy.started,
                    supervisor: None,
                }),
                State::Unusable(since) => State::Unusable(*since),
                State::NotStarted | State::Starting(_) => State::NotStarted,
            },
        })
    }

    /// Takes the lock, which another thread may hold for as long as kubectl takes to start.
    fn lock(&self, deadline: &Deadline<'_>) -> Result<MutexGuard<'_, Option<Kept>>, Failure> {
        loop {
            match self.kept.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            check(deadline)?;
            std::thread::sleep(READY_CHECK_INTERVAL);
        }
    }
}

/// The failure where the user wants to stop or the time is over.
fn check(deadline: &Deadline<'_>) -> Result<(), Failure> {
    if deadline.is_interrupted() {
        return Err(Failure::new(FailureKind::Interrupted, ""));
    }
    if deadline.has_passed() {
        return Err(Failure::new(FailureKind::Timeout, ""));
    }
    Ok(())
}

/// The socket of a proxy that was started from the configuration as it is now. `None` where no proxy can be had: there is
/// no place for its socket, or this kubectl does not serve one.
pub fn socket(
    kubectl: &Kubectl,
    isolated: WithNothingInherited,
    deadline: &Deadline<'_>,
) -> Result<Option<Socket>, Failure> {
    let mut kept = PerProcess::this().lock(deadline)?;
    let kept = current(&mut kept, kubectl);
    kept.start(kubectl, isolated);
    let new = matches!(kept.proxy, State::Starting(_));
    kept.wait_until_it_serves(deadline)?;
    Ok(match &kept.proxy {
        State::Serving(proxy) => Some(Socket {
            path: proxy.socket(),
            started: proxy.started,
            new,
            has_login_helper: kept.configuration.has_login_helper(),
        }),
        _ => None,
    })
}

/// The namespace that the configuration names. Asked once for each configuration, beside the start of the proxy, since
/// each takes as long as kubectl takes to start.
pub fn namespace(
    kubectl: &Kubectl,
    isolated: WithNothingInherited,
    deadline: &Deadline<'_>,
) -> Result<String, Failure> {
    let mut kept = PerProcess::this().lock(deadline)?;
    let kept = current(&mut kept, kubectl);
    if let Some(namespace) = &kept.namespace {
        return Ok(namespace.clone());
    }
    kept.start(kubectl, isolated);
    let namespace = kubectl.namespace(deadline)?;
    kept.namespace = Some(namespace.clone());
    Ok(namespace)
}

/// Does away with a proxy that does not serve, or not as it should.
pub fn forget(socket: &Socket, deadline: &Deadline<'_>) -> Result<(), Failure> {
    let mut kept = PerProcess::this().lock(deadline)?;
    if let Some(kept) = kept.as_mut() {
        if matches!(&kept.proxy, State::Serving(proxy) if proxy.socket() == socket.path) {
            kept.end();
        }
    }
    Ok(())
}

/// Ends the proxy of this process, if it has one and nobody is just using it to start.
pub fn end() {
    let deadline = Deadline::new(LONGEST_END, &|| false);
    if let Ok(mut kept) = PerProcess::this().lock(&deadline) {
        if let Some(mut kept) = kept.take() {
            kept.end();
        }
    }
}

/// What is kept for the configuration as it is now; what was kept for another one is ended.
fn current<'a>(kept: &'a mut Option<Kept>, kubectl: &Kubectl) -> &'a mut Kept {
    let is_current = |kept: &Kept| kept.configuration.is_current(kubectl.program());
    if let Some(mut old) = kept.take_if(|kept| !is_current(kept)) {
        old.end();
    }
    kept.get_or_insert_with(|| Kept {
        configuration: Configuration::now(kubectl.program()),
        namespace: None,
        proxy: State::NotStarted,
    })
}

impl Kept {
    fn end(&mut self) {
        if let State::Starting(proxy) | State::Serving(proxy) = std::mem::replace(&mut self.proxy, State::NotStarted) {
            proxy.end();
        }
    }

    /// Starts the proxy, unless it is there.
    fn start(&mut self, kubectl: &Kubectl, isolated: WithNothingInherited) {
        match &mut self.proxy {
            State::NotStarted => {}
            State::Unusable(since) if since.elapsed() > NEXT_ATTEMPT => {}
            State::Unusable(_) => return,
            State::Starting(proxy) | State::Serving(proxy) => {
                if !proxy.has_ended() {
                    return;
                }
                self.end();
            }
        }
        self.proxy = match start(kubectl, isolated) {
            Ok(proxy) => State::Starting(proxy),
            Err(_) => State::Unusable(Instant::now()),
        };
    }

    /// Waits until a starting proxy serves, or turns out to be unusable.
    ///
    /// Errors: the user wants to stop, or the time is over; then the proxy is ended.
    fn wait_until_it_serves(&mut self, deadline: &Deadline<'_>) -> Result<(), Failure> {
        loop {
            let State::Starting(proxy) = &mut self.proxy else {
                return Ok(());
            };
            if UnixStream::connect(proxy.socket()).is_ok() {
                if let State::Starting(proxy) = std::mem::replace(&mut self.proxy, State::NotStarted) {
                    self.proxy = State::Serving(proxy);
                }
                return Ok(());
            }
            if proxy.has_ended() {
                self.end();
                self.proxy = State::Unusable(Instant::now());
                return Ok(());
            }
            if let Err(failure) = check(deadline) {
                self.end();
                return Err(failure);
            }
            std::thread::sleep(READY_CHECK_INTERVAL);
        }
    }
}

fn start(kubectl: &Kubectl, isolated: WithNothingInherited) -> io::Result<Proxy> {
    let folder = new_folder().ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SUPERVISOR, "sh"])
        .arg(kubectl.program())
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C at the console is for R alone.
        .process_group(0);
    let mut supervisor = None;
    isolated(&mut || supervisor = Some(process::spawn(&mut command)));
    match supervisor {
        Some(Ok(supervisor)) => Ok(Proxy {
            folder,
            started: Instant::now(),
            supervisor: Some(supervisor),
        }),
        Some(Err(error)) => Err(error),
        None => Err(io::Error::from(io::ErrorKind::Other)),
    }
}

/// The path of a new folder, with room for a socket's name, where this user may make one. The supervisor makes it: whatever
/// ends R, there is somebody to remove it.
fn new_folder() -> Option<PathBuf> {
    let name = format!("abba-{}", uuid::Uuid::new_v4().simple());
    // TMPDIR may be relative to a working directory that is soon another one, too long, or nobody's to write to.
    let wanted = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    wanted
        .into_iter()
        .map(PathBuf::from)
        .chain([PathBuf::from("/tmp")])
        .chain(runtime.map(PathBuf::from))
        .filter_map(|parent| std::path::absolute(parent).ok())
        .filter(|parent| parent.is_dir() && access(parent, AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
        .map(|parent| parent.join(&name))
        .find(|folder| folder.as_os_str().len() + "/socket".len() <= LONGEST_SOCKET_PATH)
}
