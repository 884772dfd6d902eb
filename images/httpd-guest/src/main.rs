//! httpd in a guest: serves the content that its image carries.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use nom_guest_home::Guest;
use nom_guest_home::deployed::{self, Deployed};
use nom_httpd::{Httpd, archive};
use nom_service::configuration::Configuration;

nom_runtime::entry!(main);

fn main() -> u8 {
    deployed::main::<Deployment>()
}

struct Deployment;

// Content stays where the kernel put it, outside of the heap.
impl Deployed for Deployment {
    type Application = Httpd;

    const NAME: &'static str = "httpd";

    fn open(_configuration: &Configuration) -> Result<Self, String> {
        Ok(Self)
    }

    fn application(&mut self, configuration: &Configuration, home: &mut Guest) -> Result<Httpd, String> {
        let mut application = nom_httpd_setup::server(configuration, home, false);
        let files = archive::read(nom_runtime::content()).map_err(|error| error.to_string())?;
        for (path, file) in archive::gather(files) {
            application.site_mut().put(&path, file).map_err(|refused| format!("{path}: {refused}"))?;
        }
        nom_httpd_setup::ready(configuration, &mut application);
        let site = application.site();
        nom_runtime::log!("httpd: {} files, {} bytes", site.paths(), site.bytes());
        Ok(application)
    }
}
