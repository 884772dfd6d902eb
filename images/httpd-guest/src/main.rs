//! httpd in a guest: serves the content that its image carries.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use nom_guest_home::{Place, ended};
use nom_httpd::archive;

nom_runtime::entry!(main);

fn main() -> u8 {
    ended("httpd", serve())
}

fn serve() -> Result<(), String> {
    // Content stays where the kernel put it, outside of the heap.
    let place = Place::open("httpd", |_| 0)?;
    let mut application = nom_httpd_setup::server(&place.configuration, &place.home, false);
    let files = archive::read(nom_runtime::content()).map_err(|error| error.to_string())?;
    for (path, file) in archive::gather(files) {
        application.site_mut().put(&path, file).map_err(|refused| format!("{path}: {refused}"))?;
    }
    nom_httpd_setup::ready(&place.configuration, &mut application);
    nom_runtime::log!("httpd: {} files, {} bytes", application.site().paths(), application.site().bytes());
    place.serve(application)
}
