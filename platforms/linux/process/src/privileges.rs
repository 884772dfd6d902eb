//! Gives up what was needed to open the devices: the user, all capabilities, and the hope of ever getting more.
//!
//! On Linux these belong to threads; this comes before the process has a second one, and those that come later inherit.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::fs;

/// Whom a process may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// A name that the system knows, or `UID:GID`.
    pub fn find(text: &str) -> Result<Self, String> {
        let numbers = text.split_once(':').map(|(uid, gid)| (uid.parse(), gid.parse()));
        if let Some((Ok(uid), Ok(gid))) = numbers {
            return Ok(Self { uid, gid });
        }
        let known = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        named(&known, text)
            .ok_or_else(|| format!("--user: no user {text:?} here; give a name of /etc/passwd, or UID:GID"))
    }
}

/// The user of this name in a text like /etc/passwd.
fn named(known: &str, name: &str) -> Option<User> {
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (found == name).then_some(())?;
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// Becomes this user, if any, keeps no capability, and lets no program that it might start have more.
pub fn give_up(user: Option<User>) -> Result<(), String> {
    let failed =
        |what: &str, error: rustix::io::Errno| format!("cannot give up privileges ({what}): {error}");
    // A process that restarts itself is that user already, and may not say so again.
    let user = user.filter(|user| {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        (uid, gid) != (Uid::from_raw(user.uid), Gid::from_raw(user.gid))
    });
    if let Some(User { uid, gid }) = user {
        let become_user = || {
            set_thread_groups(&[])?;
            let gid = Gid::from_raw(gid);
            set_thread_res_gid(gid, gid, gid)?;
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid)
        };
        become_user().map_err(|error| {
            format!("cannot become user {uid} with group {gid}: {error}; start as root, or leave --user out")
        })?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| failed("capabilities", error))?;
    set_no_new_privs(true).map_err(|error| failed("no_new_privs", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_by_number() {
        let known = "root:x:0:0:root:/root:/bin/sh\nbroken:x:1\nkv:x:812:813::/:/bin/false\n";
        assert_eq!(named(known, "kv"), Some(User { uid: 812, gid: 813 }));
        assert_eq!((named(known, "broken"), named(known, "k"), named(known, "")), (None, None, None));
        assert_eq!(User::find("7:8"), Ok(User { uid: 7, gid: 8 }));
        assert!(User::find("7:x").unwrap_err().contains("UID:GID"));
    }
}
