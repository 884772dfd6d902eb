//! httpd as a Linux process: the network that the configuration names, content from a folder that is watched for
//! changes, an access log in a file, and the service that every deployed application shares.

#![forbid(unsafe_code)]

mod folder;
mod journal;

use folder::{Folder, Watched};
use journal::Journal;
use nom_httpd::Httpd;
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::deployed::{self, Deployed};
use nom_linux_process::home::LinuxHome;
use nom_service::configuration::Configuration;
use std::process::ExitCode;

fn main() -> ExitCode {
    deployed::main::<Web>()
}

struct Web {
    /// Until it is watched.
    folder: Option<Folder>,
    watched: Option<Watched>,
    journal: Journal,
}

impl Deployed for Web {
    type Application = Httpd;

    const PROGRAM: Program = Program { name: "nom-httpd-linux", files: &["log"] };
    const NAME: &'static str = "httpd";

    fn open(configuration: &Configuration, arguments: &Arguments) -> Result<Self, String> {
        let Some(root) = &configuration.web.content else {
            return Err("there is nothing to serve: name a folder, such as web.content = /srv/www".into());
        };
        let folder = Some(Folder::open(root.into())?);
        Ok(Self { folder, watched: None, journal: Journal::open(arguments.file("log"))? })
    }

    fn application(&mut self, configuration: &Configuration, home: &mut LinuxHome) -> Result<Httpd, String> {
        let mut application = nom_httpd_setup::server(configuration, home, self.journal.is_open());
        // The first look is done before anybody can ask.
        if let Some(folder) = self.folder.take() {
            folder.first(application.site_mut())?;
            self.watched = Some(folder.watch()?);
        }
        nom_httpd_setup::ready(configuration, &mut application);
        Ok(application)
    }

    fn turn(&mut self, application: &mut Httpd, home: &LinuxHome) {
        if let Some(watched) = self.watched.as_ref().filter(|watched| watched.has_changes()) {
            watched.apply(application.site_mut());
        }
        self.journal.fetch(application.log_mut(), home);
    }

    fn end(mut self, application: &mut Httpd, _home: &LinuxHome) -> Result<(), String> {
        self.journal.end(application.log_mut());
        Ok(())
    }
}
