//! What a process shows and keeps besides its management channel: metrics on a port, sealed windows in a file.
//!
//! Both are opened before the host's network is left and privileges are given up, and used by the home.

use crate::arguments::{Arguments, Program};
use crate::start::read_text;
use nom_linux_ledger::{Export, ExportError};
use nom_linux_metrics::{Figures, Server, listen};
use nom_service::Window;
use nom_service::configuration::Configuration;
use nom_service::management::Stats;
use nom_service::metrics::Who;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What was asked for; each may be absent.
#[derive(Debug)]
pub struct Outside {
    program: Program,
    config: PathBuf,
    /// SIGHUP came.
    again: Arc<AtomicBool>,
    export: Option<Export>,
    export_failed: bool,
    listener: Option<TcpListener>,
    figures: Figures,
    server: Option<Server>,
}

impl Outside {
    /// Opens what arguments and configuration name, for an application of this name.
    pub fn open(
        program: Program,
        application: &str,
        arguments: &Arguments,
        configuration: &Configuration,
    ) -> Result<Self, String> {
        let export = match &arguments.ledger {
            None => None,
            Some(path) => {
                let (export, earlier) = Export::create(path).map_err(|error| error.to_string())?;
                if let Some(earlier) = earlier {
                    let name = program.name;
                    eprintln!("{name}: the ledger of an earlier process is now {}", earlier.display());
                }
                Some(export)
            }
        };
        let who = Who {
            application: application.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "linux".into(),
        };
        let again = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&again))
            .map_err(|error| format!("no handler for SIGHUP: {error}"))?;
        let interval = Duration::from_nanos(configuration.stats_interval_ns);
        Ok(Self {
            program,
            config: arguments.config.clone(),
            again,
            export,
            export_failed: false,
            listener: configuration.metrics_port.map(listen).transpose()?,
            figures: Figures::of(who, interval),
            server: None,
        })
    }

    /// Begins to answer. Its threads have the rights that the process has now.
    pub fn start(&mut self) -> Result<(), String> {
        if let Some(listener) = self.listener.take() {
            self.server = Some(Server::start(listener, self.figures.clone())?);
        }
        Ok(())
    }

    /// Whether SIGHUP came since the last question: the configuration is to be read again.
    pub fn is_asked_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }

    /// The configuration as its file is now.
    pub fn configuration(&self) -> Result<String, String> {
        read_text(&self.config)
    }

    /// Figures of the moment.
    pub fn told(&self, stats: &Stats) {
        if self.server.is_some() {
            self.figures.tell(stats);
        }
    }

    /// A window was sealed.
    pub fn sealed(&mut self, window: &Window) {
        if let Some(export) = &mut self.export {
            let result = export.seal(window);
            self.export_failed = self.said(result);
        }
    }

    /// The ledger was closed.
    pub fn closed(&mut self) {
        if let Some(export) = &mut self.export {
            let result = export.close();
            self.export_failed = false;
            self.said(result);
        }
    }

    /// Says what failed, unless the window before failed as well. Whether it failed.
    fn said(&self, result: Result<(), ExportError>) -> bool {
        match result {
            Ok(()) => false,
            Err(error) => {
                if !self.export_failed {
                    eprintln!("{}: {error}; serving on, later windows wait for it", self.program.name);
                }
                true
            }
        }
    }
}
