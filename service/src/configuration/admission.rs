//! Who may open connections.

use super::{ConfigurationError, Lines, shown};
use alloc::format;
use alloc::vec::Vec;
use nom_stack::admission::{Admission, PREFIXES_MAX, Prefix};

impl Lines<'_> {
    pub(super) fn admission(&self) -> Result<Admission, ConfigurationError> {
        Ok(Admission { allowed: self.prefixes("allow")?, denied: self.prefixes("deny")? })
    }

    /// The prefixes of all lines of a key.
    fn prefixes(&self, key: &str) -> Result<Vec<Prefix>, ConfigurationError> {
        let mut prefixes = Vec::new();
        for (line, _, value) in self.found.iter().filter(|(_, name, _)| *name == key) {
            let wrong = |message| Err(ConfigurationError { line: *line, message });
            for text in value.split(',').map(str::trim) {
                let Some(prefix) = Prefix::parse(text) else {
                    let expected = "an address, or a prefix such as 10.0.0.0/8 with nothing behind its bits, is expected";
                    return wrong(format!("{key}: '{}': {expected}", shown(text)));
                };
                if prefixes.len() == PREFIXES_MAX {
                    return wrong(format!("{key}: more than {PREFIXES_MAX} prefixes"));
                }
                prefixes.push(prefix);
            }
        }
        Ok(prefixes)
    }
}

#[cfg(test)]
mod tests {
    use crate::configuration::Configuration;
    use alloc::string::ToString;
    use core::net::IpAddr;

    #[test]
    fn lines_add_up_and_what_is_wrong_is_named() {
        let text = "allow = 10.0.0.0/8, fd00::/8\nallow = 192.168.0.1\ndeny = 10.1.0.0/16 # not these\n";
        let admission = Configuration::parse(text).expect("it is right").admission;
        for (address, admitted) in [
            ("10.2.0.1", true),
            ("10.1.0.1", false),
            ("fd00::9", true),
            ("192.168.0.1", true),
            ("9.9.9.9", false),
        ] {
            assert_eq!(admission.admits(address.parse::<IpAddr>().expect(address)), admitted, "{address}");
        }
        for (text, said) in [
            ("allow = 10.0.0.1/8\n", "line 1: allow: '10.0.0.1/8'"),
            ("\ndeny = a,b\n", "line 2: deny: 'a'"),
            ("deny = 10.0.0.1,\n", "line 1: deny: ''"),
        ] {
            let error = Configuration::parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        }
        let many = "deny = 10.0.0.1\n".repeat(65);
        assert!(Configuration::parse(&many).expect_err("too many").to_string().contains("more than 64"));
    }
}
