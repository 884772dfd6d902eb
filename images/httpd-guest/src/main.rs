//! httpd in a guest: serves the content that its image carries.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use nom_guest_home::{Place, ended};
use nom_httpd::{Config, Httpd, archive};
use nom_service::home::Home;

nom_runtime::entry!(main);

fn main() -> u8 {
    ended("httpd", serve())
}

fn serve() -> Result<(), String> {
    // Content stays where the kernel put it, outside of the heap.
    let place = Place::open("httpd", |_| 0)?;
    let web = &place.configuration.web;
    let mut application = Httpd::new(Config {
        lean: web.lean,
        request_content_max: web.request_content_max,
        head_limit_s: web.head_limit_s,
        content_limit_s: web.content_limit_s,
        reading_limit_s: web.reading_limit_s,
        idle_limit_s: web.idle_limit_s,
        ..Config::new(place.configuration.items_bytes, place.home.now_ns(), place.home.unix_ns())
    });
    let files = archive::read(nom_runtime::content()).map_err(|error| error.to_string())?;
    for (path, file) in archive::gather(files) {
        application.site_mut().put(&path, file).map_err(|refused| format!("{path}: {refused}"))?;
    }
    nom_runtime::log!("httpd: {} files, {} bytes", application.site().paths(), application.site().bytes());
    place.serve(application)
}
