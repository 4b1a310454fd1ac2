//! The `kubectl proxy` of this process: started on need, watched, replaced, and gone with the process.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::configuration::Configuration;
use crate::error::KubectlReport;
use crate::transport::{kubectl_words, process, Failure, FailureKind, Kubectl, Patience, Transport};

/// Runs kubectl proxy ($1) with its socket in the folder $2 until standard input ends; then ends it and removes the
/// folder. Standard input is a pipe from R that nobody writes to: it ends with R, however R ends, SIGKILL included.
/// Where the proxy did not get as far as serving, its words are left for R to read.
/// The text is a constant and every path an argument.
const SUPERVISOR: &str = r#"
exec 3<&0
"$1" proxy --unix-socket="$2/socket" --append-server-path </dev/null 3<&- >/dev/null 2>"$2/errors" &
proxy=$!
(read -r _ <&3; kill "$proxy") 2>/dev/null &
watcher=$!
exec 3<&- </dev/null
wait "$proxy"
kill "$watcher" 2>/dev/null
if [ -f "$2/served" ] || [ ! -s "$2/errors" ]; then rm -rf "$2"; fi
"#;

/// How often a starting proxy is asked whether it answers. It takes about 60 ms.
const READY_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// A `sockaddr_un` holds 108 bytes on Linux and 104 on macOS.
const LONGEST_SOCKET_PATH: usize = 100;

/// Where a proxy answers.
#[derive(Clone, Debug)]
pub struct Socket {
    path: PathBuf,
    /// Started for the call that asked.
    pub new: bool,
}

impl Socket {
    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

struct Proxy {
    /// The supervising shell. Its standard input, held here, keeps the proxy alive.
    supervisor: Child,
    folder: PathBuf,
    configuration: Configuration,
    /// That of the configuration, once somebody has asked for it.
    namespace: Option<String>,
    /// The process that started it: a forked child uses the proxy of its parent, and leaves it alone.
    owner: u32,
}

static PROXY: Mutex<Option<Proxy>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Proxy>> {
    PROXY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Ends it, if this process started it.
    fn end(mut self) {
        if !self.is_ours() {
            // Closing our copy of the pipe would change nothing; waiting for somebody else's child would fail.
            std::mem::forget(self);
            return;
        }
        drop(self.supervisor.stdin.take());
        // The supervisor ends the proxy and removes the folder in a few milliseconds.
        for _ in 0..500 {
            match self.supervisor.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        if let Ok(id) = i32::try_from(self.supervisor.id()) {
            let group = nix::unistd::Pid::from_raw(id);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.supervisor.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The socket of a proxy that was started from the configuration as it is now.
pub fn socket(kubectl: &Kubectl, patience: &Patience<'_>) -> Result<Socket, Failure> {
    let mut proxy = lock();
    let new = ensure(&mut proxy, kubectl, patience, false)?;
    match proxy.as_ref() {
        Some(proxy) => Ok(Socket {
            path: proxy.socket(),
            new,
        }),
        None => Err(Failure::new(FailureKind::Other, "kubectl proxy is gone.")),
    }
}

/// The namespace that the configuration names. Asked once at most for each proxy: who names a namespace himself does not
/// wait for it.
pub fn namespace(kubectl: &Kubectl, patience: &Patience<'_>) -> Result<String, Failure> {
    let mut proxy = lock();
    ensure(&mut proxy, kubectl, patience, true)?;
    let known = proxy.as_mut().map(|proxy| &mut proxy.namespace);
    match known {
        Some(Some(namespace)) => Ok(namespace.clone()),
        Some(unknown) => {
            let namespace = kubectl.namespace(patience)?;
            *unknown = Some(namespace.clone());
            Ok(namespace)
        }
        None => Err(Failure::new(FailureKind::Other, "kubectl proxy is gone.")),
    }
}

/// Does away with a proxy that does not serve.
pub fn forget(socket: &Socket) {
    let mut proxy = lock();
    if proxy.as_ref().is_some_and(|proxy| proxy.socket() == socket.path) {
        if let Some(proxy) = proxy.take() {
            proxy.end();
        }
    }
}

/// Ends the proxy of this process.
pub fn end() {
    if let Some(proxy) = lock().take() {
        proxy.end();
    }
}

/// Makes sure that there is a proxy; `true` where it had to be started. With `ask` one that has to be started is asked
/// for the namespace, too.
fn ensure(proxy: &mut Option<Proxy>, kubectl: &Kubectl, patience: &Patience<'_>, ask: bool) -> Result<bool, Failure> {
    let configuration = Configuration::now(kubectl.program());
    if proxy.as_ref().is_some_and(|proxy| proxy.configuration == configuration) {
        return Ok(false);
    }
    if let Some(old) = proxy.take() {
        old.end();
    }
    *proxy = Some(start(kubectl, configuration, patience, ask)?);
    Ok(true)
}

fn start(
    kubectl: &Kubectl,
    configuration: Configuration,
    patience: &Patience<'_>,
    ask: bool,
) -> Result<Proxy, Failure> {
    let cannot =
        |error: io::Error| Failure::new(FailureKind::Other, format!("kubectl proxy cannot be started: {error}"));
    let folder = make_folder().map_err(cannot)?;
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
    let supervisor = process::spawn(&mut command).map_err(|error| {
        let _ = std::fs::remove_dir_all(&folder);
        cannot(error)
    })?;
    let mut proxy = Proxy {
        supervisor,
        folder,
        configuration,
        namespace: None,
        owner: std::process::id(),
    };
    // Beside the proxy's start, since each takes as long as kubectl takes to start.
    let asked = match ask {
        true => Some(ask_namespace(kubectl, patience).map_err(cannot)?),
        false => None,
    };
    let started = wait_until_ready(&mut proxy, patience);
    let namespace = asked.map(|asked| join(asked, patience)).transpose();
    match (started, namespace) {
        (Ok(()), Ok(namespace)) => {
            proxy.namespace = namespace;
            let _ = File::create(proxy.folder.join("served"));
            Ok(proxy)
        }
        (Err(failure), _) | (_, Err(failure)) => {
            let folder = proxy.folder.clone();
            proxy.end();
            let _ = std::fs::remove_dir_all(folder);
            Err(failure)
        }
    }
}

/// A new folder that only this user can enter.
fn make_folder() -> io::Result<PathBuf> {
    let name = format!("abba-{}", uuid::Uuid::new_v4().simple());
    let mut parent = std::env::temp_dir();
    if parent.join(&name).as_os_str().len() + "/socket".len() > LONGEST_SOCKET_PATH {
        parent = PathBuf::from("/tmp");
    }
    let folder = parent.join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

fn wait_until_ready(proxy: &mut Proxy, patience: &Patience<'_>) -> Result<(), Failure> {
    let socket = proxy.socket();
    loop {
        if UnixStream::connect(&socket).is_ok() {
            return Ok(());
        }
        if !matches!(proxy.supervisor.try_wait(), Ok(None)) {
            let errors = std::fs::read(proxy.folder.join("errors")).unwrap_or_default();
            let stderr = String::from_utf8_lossy(&errors).into_owned();
            return Err(Failure {
                kind: kubectl_words::classify(&stderr),
                words: kubectl_words::without_debugging_lines(&stderr),
                details: None,
                report: Some(report(stderr)),
            });
        }
        let failure = |kind| Failure {
            kind,
            words: String::new(),
            details: None,
            report: Some(report(String::new())),
        };
        if patience.is_interrupted() {
            return Err(failure(FailureKind::Interrupted));
        }
        if patience.is_over() {
            return Err(failure(FailureKind::Timeout));
        }
        std::thread::sleep(READY_CHECK_INTERVAL);
    }
}

fn report(stderr: String) -> KubectlReport {
    KubectlReport {
        request: "kubectl proxy".into(),
        exit_status: None,
        stderr,
    }
}

/// Asks for the namespace in a thread of its own, which never looks for interrupts: only R's own thread may.
fn ask_namespace(kubectl: &Kubectl, patience: &Patience<'_>) -> io::Result<JoinHandle<Result<String, Failure>>> {
    let kubectl = kubectl.clone();
    let rest = patience.rest();
    std::thread::Builder::new()
        .name("abba-namespace".into())
        .spawn(move || {
            process::leave_signals_to_main_thread();
            kubectl.namespace(&Patience::new(rest, &|| false))
        })
}

fn join(asked: JoinHandle<Result<String, Failure>>, patience: &Patience<'_>) -> Result<String, Failure> {
    while !asked.is_finished() {
        if patience.is_interrupted() {
            // The thread ends by itself, with the kubectl that it waits for, at the time limit.
            return Err(Failure::new(FailureKind::Interrupted, ""));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    asked
        .join()
        .unwrap_or_else(|_| Err(Failure::new(FailureKind::Other, "The namespace cannot be read.")))
}
