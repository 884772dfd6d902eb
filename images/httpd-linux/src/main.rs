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
use nom_service::home::Home;
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
        let web = &configuration.web;
        let mut application = Httpd::new(nom_httpd::Config {
            lean: web.lean,
            request_content_max: web.request_content_max,
            head_limit_s: web.head_limit_s,
            content_limit_s: web.content_limit_s,
            reading_limit_s: web.reading_limit_s,
            idle_limit_s: web.idle_limit_s,
            logs: self.journal.is_open(),
            ..nom_httpd::Config::new(configuration.items_bytes, home.now_ns(), home.unix_ns())
        });
        // The first look is done before anybody can ask.
        if let Some(folder) = self.folder.take() {
            folder.first(application.site_mut())?;
            self.watched = Some(folder.watch()?);
        }
        Ok(application)
    }

    fn turn(&mut self, application: &mut Httpd, home: &LinuxHome) {
        if let Some(watched) = self.watched.as_ref().filter(|watched| watched.has_changes()) {
            watched.apply(application.site_mut());
        }
        self.journal.fetch(application.log_mut(), home);
    }

    fn end(mut self, application: &mut Httpd) -> Result<(), String> {
        self.journal.end(application.log_mut());
        Ok(())
    }
}
