//! User accounts of this machine.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::domain::identity::Identity;
use crate::error::quote_shortened;
use crate::Error;

thread_local! {
    /// The accounts that were looked up already; `None` where they are not kept.
    static LOOKED_UP: RefCell<Option<BTreeMap<String, Identity>>> = const { RefCell::new(None) };
}

/// Calls a function in which each account is looked up once: the programs of a batch ask for the same one, and a directory
/// takes long to answer.
pub fn each_once<T>(function: impl FnOnce() -> T) -> T {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            LOOKED_UP.set(None);
        }
    }

    let _forget = Forget;
    LOOKED_UP.set(Some(BTreeMap::new()));
    function()
}

/// The account of the argument `username`.
///
/// Errors: there is no such account, it cannot be looked up, or this is no Unix.
pub fn find(name: &str) -> Result<Identity, Error> {
    find_by(name, look_up_username)
}

fn find_by(name: &str, look_up: impl FnOnce(&str) -> Result<Identity, Error>) -> Result<Identity, Error> {
    if let Some(known) = LOOKED_UP.with_borrow(|accounts| accounts.as_ref()?.get(name).cloned()) {
        return Ok(known);
    }
    let found = look_up(name)?;
    LOOKED_UP.with_borrow_mut(|accounts| {
        if let Some(accounts) = accounts {
            accounts.insert(name.to_string(), found.clone());
        }
    });
    Ok(found)
}

/// Looks up an account by name, in whatever the machine uses for accounts (files, LDAP, SSSD). `with_groups`: also its
/// supplementary groups, for which a directory may take long. `None`: there is no such account.
///
/// Errors, in words: it cannot be looked up now, or this is no Unix.
#[cfg(unix)]
pub fn look_up(name: &str, with_groups: bool) -> Result<Option<Identity>, String> {
    use std::ffi::CString;

    use nix::unistd::{getgrouplist, User};

    let Ok(c_name) = CString::new(name) else {
        return Ok(None);
    };
    let Some(user) = User::from_name(name).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let groups = match with_groups {
        true => getgrouplist(&c_name, user.gid).map_err(|error| error.to_string())?,
        false => Vec::new(),
    };
    Ok(Some(Identity {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups
            .into_iter()
            .filter(|group| *group != user.gid)
            .map(nix::unistd::Gid::as_raw)
            .collect(),
        home: user.dir.to_string_lossy().into_owned(),
    }))
}

/// Looks up a group by name: its number; `None`: there is none.
///
/// Errors, in words: it cannot be looked up now, or this is no Unix.
#[cfg(unix)]
pub fn group(name: &str) -> Result<Option<u32>, String> {
    if name.contains('\0') {
        return Ok(None);
    }
    let group = nix::unistd::Group::from_name(name).map_err(|error| error.to_string())?;
    Ok(group.map(|group| group.gid.as_raw()))
}

/// There are no Unix groups here.
#[cfg(not(unix))]
pub fn group(_: &str) -> Result<Option<u32>, String> {
    Err("this machine has no Unix groups".into())
}

/// There are no Unix accounts here.
#[cfg(not(unix))]
pub fn look_up(_: &str, _: bool) -> Result<Option<Identity>, String> {
    Err("this machine has no Unix accounts".into())
}

#[cfg(unix)]
fn look_up_username(name: &str) -> Result<Identity, Error> {
    let shown = quote_shortened(name);
    match look_up(name, true) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(Error::input(format!(
            "`username` must be the name of a user on this machine, and there is no user {shown}."
        ))
        .advise("Give a user name as `id` shows it, or leave `username` out to run as the container image says.")),
        Err(reason) => Err(Error::input(format!(
            "`username` {shown} cannot be looked up on this machine: {reason}."
        ))),
    }
}

/// Whether nobody logs in to an account: its shell is one of those that let nobody in. `false` where that is not known.
pub fn is_nologin(name: &str) -> bool {
    #[cfg(unix)]
    return matches!(nix::unistd::User::from_name(name), Ok(Some(user)) if is_no_shell(&user.shell));
    #[cfg(not(unix))]
    {
        let _ = name;
        false
    }
}

/// nologin(8), and `false` and `true` as Debian's and Red Hat's system accounts have them. An empty shell is `/bin/sh`
/// (passwd(5)).
#[cfg(unix)]
fn is_no_shell(shell: &std::path::Path) -> bool {
    let name = shell.file_name().and_then(|name| name.to_str());
    matches!(name, Some("nologin" | "false" | "true" | "sync" | "halt" | "shutdown"))
}

/// The number of the account that this process runs as; `None`: this is no Unix.
pub fn own_uid() -> Option<u32> {
    #[cfg(unix)]
    return Some(nix::unistd::Uid::effective().as_raw());
    #[cfg(not(unix))]
    None
}

/// The least number of an account of a person, as the machine has it (`UID_MIN`), else 1000:
/// <https://man7.org/linux/man-pages/man5/login.defs.5.html>
pub fn least_uid() -> u32 {
    let text = std::fs::read_to_string("/etc/login.defs").unwrap_or_default();
    uid_min(&text).unwrap_or(1000)
}

fn uid_min(login_defs: &str) -> Option<u32> {
    login_defs.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("UID_MIN")).then(|| words.next()?.parse().ok())?
    })
}

/// The account that this process runs as.
///
/// Errors: it has no name.
#[cfg(unix)]
pub fn current() -> Result<Identity, Error> {
    use nix::unistd::{Uid, User};

    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => find(&user.name),
        _ => Err(
            Error::input(format!("The user with the number {uid} has no name on this machine."))
                .advise("Give `username`."),
        ),
    }
}

#[cfg(not(unix))]
fn look_up_username(name: &str) -> Result<Identity, Error> {
    Err(Error::input(format!(
        "`username` {} cannot be looked up: this machine has no Unix accounts.",
        quote_shortened(name)
    ))
    .advise("Leave `username` out to run as the container image says."))
}

/// There are no Unix accounts here.
#[cfg(not(unix))]
pub fn current() -> Result<Identity, Error> {
    Err(Error::input("This machine has no Unix accounts."))
}

/// The name of the user who submits, for the record: the account's, else what the environment says, else nothing.
pub fn current_name() -> String {
    account_name()
        .or_else(|| std::env::var("USER").ok())
        .or_else(|| std::env::var("USERNAME").ok())
        .unwrap_or_default()
}

/// The name of the account that this process runs as, by itself: to look up its groups in a directory takes long, and is
/// done for no record. `None`: it has none.
#[cfg(unix)]
pub fn account_name() -> Option<String> {
    use std::sync::Mutex;

    use nix::unistd::{Uid, User};

    // Every program of a batch asks for it, and a directory takes long to answer.
    static LAST: Mutex<Option<(Uid, String)>> = Mutex::new(None);
    let uid = Uid::effective();
    let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, name)) = last.as_ref().filter(|(of, _)| *of == uid) {
        return Some(name.clone());
    }
    let name = User::from_uid(uid).ok()??.name;
    *last = Some((uid, name.clone()));
    Some(name)
}

/// There are no Unix accounts here.
#[cfg(not(unix))]
pub fn account_name() -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_lets_nobody_in_is_none() {
        for (shell, is_none) in [
            ("/usr/sbin/nologin", true),
            ("/sbin/nologin", true),
            ("/bin/false", true),
            ("/bin/bash", false),
            ("/usr/bin/rstudio-shell", false),
            ("", false),
        ] {
            assert_eq!(is_no_shell(std::path::Path::new(shell)), is_none, "{shell}");
        }
        assert!(!is_nologin("no-such-account"));
    }

    #[test]
    fn the_least_number_of_a_person_is_the_machines() {
        assert_eq!(uid_min("# UID_MIN 1\nUID_MAX\t60000\nUID_MIN\t\t 2000\n"), Some(2000));
        assert_eq!(uid_min("UID_MIN\n#\n"), None);
        assert_eq!(uid_min(""), None);
        assert!(least_uid() > 0);
    }

    #[test]
    fn an_account_that_is_not_there_is_told_from_one_that_cannot_be_looked_up() {
        assert_eq!(look_up("no-such-user-here", true), Ok(None));
        assert_eq!(look_up("a\0b", false), Ok(None));
        assert_eq!(group("a\0b"), Ok(None));
        assert_eq!(group("no-such-group-here"), Ok(None));
        assert_eq!(group("daemon"), Ok(Some(1)));
        assert_eq!(look_up("daemon", false).unwrap().unwrap().name, "daemon");
    }

    #[test]
    fn root_is_everywhere() {
        let root = find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.home.starts_with('/'));
    }

    #[test]
    fn the_name_for_the_record_is_the_accounts() {
        assert_eq!(current_name(), current().unwrap().name);
        assert_eq!(current_name(), current().unwrap().name);
    }

    #[test]
    fn the_programs_of_a_batch_look_an_account_up_once() {
        let asked = std::cell::Cell::new(0);
        let ask = |name: &str| {
            find_by(name, |name| {
                asked.set(asked.get() + 1);
                look_up_username(name)
            })
        };
        each_once(|| {
            for _ in 0..3 {
                assert_eq!(ask("root").unwrap().uid, 0);
            }
            assert_eq!(asked.get(), 1);
        });
        // The next batch sees what has changed.
        ask("root").unwrap();
        ask("root").unwrap();
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn nobody_by_that_name() {
        for name in ["no-such-user-here", "", "a\0b", "; rm -rf /"] {
            let error = find(name).unwrap_err();
            assert!(error.message.contains("`username`"), "{}", error.message);
        }
    }
}
