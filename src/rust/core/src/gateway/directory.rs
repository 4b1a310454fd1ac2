//! The accounts of callers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::answer::ApiError;
use super::permissions::not_permitted;
use super::policy::Policy;
use crate::domain::identity::Identity;
use crate::error::quote_shortened;
use crate::local::accounts;
use crate::{Error, ErrorClass};

/// For how long the name of an account is taken as it was.
const NAME: Duration = Duration::from_secs(30);

/// Names that are kept, at most.
const MOST_NAMES: usize = 10_000;

/// The number of the account `nobody`: those whom an NFS server does not know.
const NOBODY: u32 = 65_534;

/// How an account is looked up, as by [`accounts::look_up`].
pub type LookUp = fn(&str, bool) -> Result<Option<Identity>, String>;

/// An account: its name and its number.
pub type Account = (String, u32);

/// The accounts of the machine, as the server knows them.
pub struct Directory {
    pub(super) look_up: LookUp,
    /// The names and numbers of accounts, by the names that callers came with; `None`: there is no account.
    names: Mutex<HashMap<String, (Instant, Option<Account>)>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            look_up: accounts::look_up,
            names: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Directory")
    }
}

impl Directory {
    /// The account of a caller as it is now, with its groups; `None`: there is none.
    ///
    /// Errors (503): whatever the machine uses for accounts does not answer.
    pub fn account(&self, name: &str) -> Result<Option<Identity>, ApiError> {
        let account = (self.look_up)(name, true).map_err(|reason| no_answer(name, &reason))?;
        self.keep(name, account.as_ref());
        Ok(account)
    }

    /// The name of a caller's account as the machine has it, and its number: where a directory knows `mike`, it knows `Mike` and `mike@corp`,
    /// too, and they are one. `None`: there is no account. While the directory does not answer, a name stays what it was.
    /// Beside it the account with its groups, where it is wanted and was looked up for this.
    ///
    /// Errors (503): the directory does not answer, and the name was never seen.
    pub fn name(&self, name: &str, wants_account: bool) -> Result<(Option<Account>, Option<Identity>), ApiError> {
        let known = self.names().get(name).cloned();
        if let Some((_, account)) = known.as_ref().filter(|(when, _)| when.elapsed() < NAME) {
            return Ok((account.clone(), None));
        }
        match ((self.look_up)(name, wants_account), known) {
            (Ok(account), _) => Ok((self.keep(name, account.as_ref()), account.filter(|_| wants_account))),
            (Err(_), Some((_, account))) => Ok((account, None)),
            (Err(reason), None) => Err(no_answer(name, &reason)),
        }
    }

    /// Why a name in the list of operators makes nobody an operator, or may not; `None`: it does.
    pub fn doubt_of_operator(&self, name: &str) -> Option<String> {
        let shown = quote_shortened(name);
        match (self.look_up)(name, false) {
            Ok(Some(account)) if account.name == name => None,
            Ok(Some(account)) => Some(format!(
                "The option `abba.api.operators` names {shown}, and the account is called {}: nobody is an operator by that \
                 name. Write it as the account has it.",
                quote_shortened(&account.name)
            )),
            Ok(None) => Some(format!(
                "The option `abba.api.operators` names {shown}, and this machine has no such account: nobody is an operator by \
                 that name, until there is one. Take it out, or mend it."
            )),
            Err(reason) => Some(format!(
                "The option `abba.api.operators` names {shown}, and whether there is such an account is not known: the directory \
                 of accounts does not answer ({reason})."
            )),
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Option<Account>)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, name: &str, account: Option<&Identity>) -> Option<Account> {
        let account = account.map(|account| (account.name.clone(), account.uid));
        let mut names = self.names();
        if names.len() >= MOST_NAMES {
            names.clear();
        }
        names.insert(name.into(), (Instant::now(), account.clone()));
        account
    }
}

fn no_answer(name: &str, reason: &str) -> ApiError {
    let told = Error::new(
        ErrorClass::Unavailable,
        "The abba server cannot look up your account: the directory of accounts does not answer.",
    )
    .meaning("Nothing was done.")
    .advise("Repeat the call in a minute; if it does not heal, tell the administrator of the abba server.");
    let reason = format!("The account {} cannot be looked up: {reason}.", quote_shortened(name));
    ApiError::new(503, told).because(reason).again_in(10)
}

/// The account that a caller's programs run as, with the groups that they get. `own_uid`: that of the server.
///
/// Errors ([`ErrorClass::Forbidden`]): there is none, or it is not a person's.
pub fn run_as(
    name: &str,
    account: Option<&Identity>,
    policy: &Policy,
    own_uid: Option<u32>,
) -> Result<Identity, Error> {
    let refuse = |what: &str, advice: &str| {
        let message = format!("The account {} of the abba server {what}.", quote_shortened(name));
        Err(not_permitted(message, advice))
    };
    const OWN: &str = "Use an account of your own.";
    let Some(account) = account else {
        return refuse(
            "does not exist, and programs run as their owner's account",
            "Ask the administrator of the abba server for an account of that name.",
        );
    };
    let (uid, gid) = (account.uid, account.gid);
    if uid == 0 {
        return refuse("is root, and no program runs as root here", OWN);
    }
    if uid < policy.least_uid || uid == NOBODY {
        let what = format!(
            "has the user number {uid}, which is the system's, and programs run as accounts of people, from {} on",
            policy.least_uid
        );
        return refuse(&what, OWN);
    }
    if own_uid == Some(uid) {
        return refuse("is the one that runs the server, and no program runs as that", OWN);
    }
    if gid == 0 || gid < policy.least_gid {
        let what = format!(
            "has the group number {gid}, which is the system's, and programs run with groups of people, from {} on",
            policy.least_gid.max(1)
        );
        return refuse(
            &what,
            "Ask the administrator of the abba server, who may give the account another group, or set the option \
             `abba.api.least.gid`.",
        );
    }
    let mut account = account.clone();
    account.groups.retain(|group| *group != 0 && *group >= policy.least_gid);
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::settings;
    use super::super::policy::Settings;
    use super::*;

    fn identity(name: &str, uid: u32, gid: u32, groups: &[u32]) -> Identity {
        Identity {
            name: name.into(),
            uid,
            gid,
            groups: groups.to_vec(),
            home: format!("/home/{name}"),
        }
    }

    fn policy(least_uid: u32, least_gid: Option<u32>) -> Policy {
        Policy::new(Settings {
            least_uid: Some(least_uid),
            least_gid,
            ..settings()
        })
        .unwrap()
    }

    #[test]
    fn programs_run_as_accounts_of_people_and_with_groups_of_people() {
        let ask = |uid, gid, groups: &[u32]| {
            let account = identity("mike", uid, gid, groups);
            run_as("mike", Some(&account), &policy(1000, None), Some(2000))
        };
        let account = ask(1000, 1000, &[0, 4, 999, 1000, 5000]).unwrap();
        assert_eq!((account.uid, account.groups), (1000, vec![1000, 5000]));
        for (uid, gid, words) in [
            (0, 1000, "is root"),
            (1, 1000, "user number 1,"),
            (999, 1000, "user number 999"),
            (NOBODY, 1000, "user number 65534"),
            (1000, 0, "group number 0"),
            (1000, 999, "group number 999"),
            (2000, 1000, "runs the server"),
        ] {
            let error = ask(uid, gid, &[]).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden);
            assert!(error.message.contains(words), "{}", error.message);
        }
        let none = run_as("mike", None, &policy(1000, None), None).unwrap_err();
        assert!(none.message.contains("does not exist"));
    }

    #[test]
    fn the_floor_of_groups_is_that_of_users_unless_it_is_said() {
        let ask = |gid, policy: &Policy| run_as("m", Some(&identity("m", 5000, gid, &[])), policy, None);
        assert!(ask(100, &policy(1000, None)).is_err());
        assert!(ask(100, &policy(1000, Some(100))).is_ok());
        assert!(ask(100, &policy(50, None)).is_ok());
        // Whatever the floor, nobody has the groups of root.
        assert!(ask(0, &policy(0, Some(0))).is_err());
    }

    #[test]
    fn an_operator_that_nobody_can_be_is_told_and_a_silent_directory_says_nothing_of_accounts() {
        let directory = |look_up: LookUp| Directory {
            look_up,
            ..Directory::default()
        };
        let answers = directory(|name, _| match name {
            "Mike" | "mike" => Ok(Some(identity("mike", 1000, 1000, &[]))),
            _ => Ok(None),
        });
        assert_eq!(answers.doubt_of_operator("mike"), None);
        let doubt = answers.doubt_of_operator("Mike").unwrap();
        assert!(
            doubt.contains("\"Mike\", and the account is called \"mike\""),
            "{doubt}"
        );
        let doubt = answers.doubt_of_operator("eve").unwrap();
        assert!(
            doubt.contains("\"eve\", and this machine has no such account"),
            "{doubt}"
        );
        let doubt = directory(|_, _| Err("Connection refused".into()))
            .doubt_of_operator("mike")
            .unwrap();
        assert!(
            doubt.contains("Connection refused") && !doubt.contains("no such account"),
            "{doubt}"
        );
    }

    #[test]
    fn a_name_is_what_the_directory_says_and_stays_so_while_it_is_away() {
        let mut directory = Directory {
            look_up: |name, _| match name {
                "Mike" | "mike@corp" | "mike" => Ok(Some(identity("mike", 1000, 1000, &[]))),
                _ => Ok(None),
            },
            ..Directory::default()
        };
        for name in ["Mike", "mike@corp", "mike"] {
            assert_eq!(directory.name(name, false).unwrap().0, Some(("mike".into(), 1000)));
        }
        assert_eq!(directory.name("eve", true).unwrap(), (None, None));
        directory.look_up = |_, _| Err("Connection refused".into());
        for (when, _) in directory.names.get_mut().unwrap().values_mut() {
            *when = Instant::now().checked_sub(NAME).unwrap();
        }
        assert_eq!(directory.name("Mike", true).unwrap().0, Some(("mike".into(), 1000)));
        let unknown = directory.name("olga", false).unwrap_err();
        let account = directory.account("Mike").unwrap_err();
        for refusal in [unknown, account] {
            assert_eq!((refusal.status, refusal.error.class), (503, ErrorClass::Unavailable));
            assert!(!refusal.error.to_string().contains("does not exist"));
            assert!(refusal.reason.contains("Connection refused"));
        }
    }
}
