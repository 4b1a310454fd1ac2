//! The `kubectl proxy` of this process: started on need, watched, replaced, and gone with the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::{access, AccessFlags, Pid};

use super::configuration::Configuration;
use super::WithNothingInherited;
use crate::transport::{login, process, Deadline, Failure, FailureKind, Kubectl, Transport};

/// Makes the folder $2 for this user alone, and runs kubectl proxy ($1) with its socket in there until standard input ends
/// or SIGTERM comes; then ends it, with all that it started, and removes the folder. Standard input is a pipe from R that
/// nobody writes to: it ends with R, however R ends, SIGKILL included.
///
/// Four processes of one group: this shell; one that waits for the pipe's end; one that waits for kubectl's end; and
/// kubectl. The pipe's end is enough to end them all and remove the folder even where somebody has killed this shell, and
/// where the one at the pipe was killed, this shell does it at once.
///
/// kubectl's stderr goes into a file of the folder: a login helper says there what a person has to do.
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
("$1" proxy --unix-socket="$2/socket" --append-server-path 2>>"$2/.stderr"; kill -s TERM 0) 3<&- &
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

/// How old a login must be for a "forbidden" to be blamed on it.
const OLD_LOGIN: Duration = Duration::from_secs(60);

/// How much of kubectl's stderr is kept: in a long outage it says the same again and again.
const LONGEST_STDERR: usize = 1024 * 1024;

/// After this time a proxy that could not be started is tried again.
const NEXT_ATTEMPT: Duration = Duration::from_secs(60);

/// Where a proxy answers. It serves for as long as somebody holds this, also where it was forgotten meanwhile.
#[derive(Clone)]
pub struct Socket {
    proxy: Arc<Proxy>,
    /// Whether it was started for the call that asked.
    pub new: bool,
    /// The login, as a number, where it comes from a login helper.
    pub login_of_helper: Option<u64>,
}

impl Socket {
    /// The socket's path.
    pub fn path(&self) -> PathBuf {
        self.proxy.socket()
    }

    /// Whether a login helper runs for it now. `None`: nobody knows.
    pub fn helper_runs(&self) -> Option<bool> {
        login::helper_runs(self.proxy.group?)
    }

    /// How much kubectl has written to stderr so far.
    pub fn stderr_length(&self) -> usize {
        let length = std::fs::metadata(self.proxy.stderr()).map_or(0, |metadata| metadata.len());
        usize::try_from(length).unwrap_or(0)
    }

    /// What kubectl has written to stderr; the newest part of it, if it is much.
    pub fn stderr(&self) -> Vec<u8> {
        let file = self.proxy.stderr();
        let stderr = std::fs::read(&file).unwrap_or_default();
        if stderr.len() > LONGEST_STDERR {
            // kubectl goes on writing at its end.
            let _ = std::fs::OpenOptions::new().write(true).truncate(true).open(&file);
        }
        stderr
    }

    /// How long nobody has had an answer from it, by the clock that goes on while the machine sleeps.
    pub fn idle(&self) -> Duration {
        let answered = self.proxy.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.elapsed().unwrap_or_default()
    }

    /// Notes that it has answered.
    pub fn has_answered(&self) {
        let mut answered = self.proxy.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered = SystemTime::now();
    }

    /// Whether its login should be compared with that of a new kubectl because of a refusal: each minute once, else every
    /// refusal would start a kubectl.
    pub fn may_be_compared(&self) -> bool {
        let mut compared = self.proxy.compared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = compared.elapsed() > OLD_LOGIN;
        if is_due {
            *compared = Instant::now();
        }
        is_due
    }
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
    Starting(Arc<Proxy>),
    /// It has answered.
    Serving(Arc<Proxy>),
    /// It could not be started, at this moment.
    Unusable(Instant),
}

struct Proxy {
    folder: PathBuf,
    /// When its login was last known to be new, or compared with a new one.
    compared: Mutex<Instant>,
    /// When it last answered, or was started.
    answered: Mutex<SystemTime>,
    /// The process group of the supervisor.
    group: Option<u32>,
    /// The supervising shell, whose standard input, held here, keeps the proxy alive. `None` in a forked child, which uses
    /// the proxy of its parent and leaves it alone.
    supervisor: Mutex<Option<Child>>,
}

impl Proxy {
    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn stderr(&self) -> PathBuf {
        self.folder.join(".stderr")
    }

    fn supervisor(&self) -> MutexGuard<'_, Option<Child>> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the supervisor is gone, and with it the proxy.
    fn has_ended(&self) -> bool {
        let mut supervisor = self.supervisor();
        let supervisor = supervisor.as_mut();
        supervisor.is_some_and(|supervisor| !matches!(supervisor.try_wait(), Ok(None)))
    }
}

/// The last who holds it ends it, if this process started it.
impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(mut supervisor) = self.supervisor().take() else {
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
                State::Serving(proxy) => State::Serving(Arc::new(Proxy {
                    folder: proxy.folder.clone(),
                    compared: Mutex::new(Instant::now()),
                    answered: Mutex::new(SystemTime::now()),
                    group: proxy.group,
                    supervisor: Mutex::new(None),
                })),
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
            proxy: Arc::clone(proxy),
            new,
            login_of_helper: kept.configuration.login_of_helper(),
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

/// Uses a proxy no more that does not serve, or not as it should. It ends once nobody has a call under way through it.
pub fn forget(socket: &Socket, deadline: &Deadline<'_>) -> Result<(), Failure> {
    let mut kept = PerProcess::this().lock(deadline)?;
    if let Some(kept) = kept.as_mut() {
        if matches!(&kept.proxy, State::Serving(proxy) if Arc::ptr_eq(proxy, &socket.proxy)) {
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
        self.proxy = State::NotStarted;
    }

    /// Starts the proxy, unless it is there.
    fn start(&mut self, kubectl: &Kubectl, isolated: WithNothingInherited) {
        match &self.proxy {
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
            Ok(proxy) => State::Starting(Arc::new(proxy)),
            Err(_) => State::Unusable(Instant::now()),
        };
    }

    /// Waits until a starting proxy serves, or turns out to be unusable.
    ///
    /// Errors: the user wants to stop, or the time is over; then the proxy is ended.
    fn wait_until_it_serves(&mut self, deadline: &Deadline<'_>) -> Result<(), Failure> {
        loop {
            let State::Starting(proxy) = &self.proxy else {
                return Ok(());
            };
            if UnixStream::connect(proxy.socket()).is_ok() {
                self.proxy = State::Serving(Arc::clone(proxy));
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
        .env(process::KUBERC.0, process::KUBERC.1)
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
            compared: Mutex::new(Instant::now()),
            answered: Mutex::new(SystemTime::now()),
            group: Some(supervisor.id()),
            supervisor: Mutex::new(Some(supervisor)),
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
