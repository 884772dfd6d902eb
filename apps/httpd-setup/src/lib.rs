//! From the keys `web.*` of a configuration to a server: the same in a guest and as a Linux process.

#![no_std]
#![forbid(unsafe_code)]

use nom_httpd::{Config, Httpd};
use nom_service::configuration::{Compress, Configuration};
use nom_service::home::Home;

/// A server without content. `file` says whether its access log is fetched for a
/// file.
pub fn server(configuration: &Configuration, home: &impl Home, file: bool) -> Httpd {
    let web = &configuration.web;
    Httpd::new(Config {
        lean: web.lean,
        request_content_max: web.request_content_max,
        head_limit_s: web.head_limit_s,
        content_limit_s: web.content_limit_s,
        reading_limit_s: web.reading_limit_s,
        // The other half is for bytes that overtook others, and for who sends more than he is answered.
        heads_bytes: configuration.receive_memory_bytes / 2,
        idle_limit_s: web.idle_limit_s,
        mirror: web.mirror.clone(),
        presses: web.compress == Compress::Auto,
        logs: file || web.log,
        tells: web.log && !file,
        ..Config::new(configuration.items_bytes, home.now_ns(), home.unix_ns())
    })
}

/// To be called once the content is there, before it is served.
pub fn ready(configuration: &Configuration, httpd: &mut Httpd) {
    if configuration.web.compress == Compress::Start {
        httpd.press_all();
    }
}
