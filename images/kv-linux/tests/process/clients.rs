//! Clients that we did not write, each with everything it can ask for; and libmemcached's own test of servers.
//!
//! Whatever a machine does not have is skipped with a line that says what to install.

use crate::cores;
use crate::started::{CONFIGURATION, Place, Process};
use futures::executor::block_on;
use futures::io::AllowStdIo;
use memcache_async::ascii::Protocol;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

/// The answers that memccapable looks at in the text protocol.
const CAPABILITIES: usize = 27;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A Python that has this module. Another one than the system's may come first on the path.
fn python_with(module: &str) -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let import = format!("import {module}");
        Command::new(python).args(["-c", &import]).output().is_ok_and(|output| output.status.success())
    })
}

fn converse(module: &str, script: &str) {
    let Some(python) = python_with(module) else {
        println!("SKIPPED: no Python with {module}; install the package python3-{module}");
        return;
    };
    for configuration in [CONFIGURATION.to_string(), cores::configuration()] {
        let Some(process) = Process::start_in(Place::new(module, &configuration)) else { return };
        let port = process.address.port().to_string();
        let output = Command::new(python).args(["-c", script, &port]).output().unwrap();
        assert!(output.status.success() && output.stdout == b"done\n", "{}", said(&output));
    }
}

#[test]
fn pymemcache() {
    converse("pymemcache", include_str!("clients/pymemcache_client.py"));
}

#[test]
fn pylibmc() {
    converse("pylibmc", include_str!("clients/pylibmc_client.py"));
}

#[test]
fn memccapable() {
    for configuration in [CONFIGURATION.to_string(), cores::configuration()] {
        let Some(process) = Process::start_in(Place::new("memccapable", &configuration)) else { return };
        let port = process.address.port().to_string();
        let arguments = ["-a", "-t", "60", "-h", "127.0.0.1", "-p", &port];
        let Ok(output) = Command::new("memccapable").args(arguments).output() else {
            println!("SKIPPED: no memccapable; install the package libmemcached-tools");
            return;
        };
        let said = said(&output);
        let passed = said.lines().filter(|line| line.contains("[pass]")).count();
        assert!(output.status.success(), "{said}");
        assert_eq!(passed, CAPABILITIES, "{said}");
    }
}

/// libmemcached's load, which checks every value that it reads.
#[test]
fn memcaslap_on_two_cores() {
    let Some(process) = Process::start_in(Place::new("memcaslap", &cores::configuration())) else { return };
    let server = format!("127.0.0.1:{}", process.address.port());
    let arguments = ["-s", &server, "-T", "1", "-c", "16", "-x", "5000", "-v", "1"];
    let Ok(output) = Command::new("memcaslap").args(arguments).output() else {
        println!("SKIPPED: no memcaslap; install the package libmemcached-tools");
        return;
    };
    let said = said(&output);
    let counted =
        |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().parse::<u64>().ok());
    assert!(output.status.success() && said.contains("TPS:"), "{said}");
    assert_eq!(
        (counted("verify_misses:"), counted("verify_failed:"), counted("get_misses:")),
        (Some(0), Some(0), Some(0)),
        "{said}"
    );
}

/// The crate memcache-async, over blocking streams.
#[test]
fn memcache_async() {
    let Some(process) = Process::start("memcache-async") else { return };
    let connect = || {
        let stream = TcpStream::connect(process.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        Protocol::new(AllowStdIo::new(stream))
    };
    let mut client = connect();
    block_on(async {
        assert!(client.version().await?.starts_with("1.6.18"));
        assert_eq!(client.get("a").await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        client.set("a", b"value", 0).await?;
        assert_eq!(client.get("a").await?, b"value");
        client.append("a", b" and more").await?;
        assert_eq!(
            client.add("a", b"other", 0).await.map_err(|error| error.kind()),
            Err(ErrorKind::AlreadyExists)
        );
        let (value, unique) = client.gets_cas("a").await?;
        assert_eq!(value, b"value and more");
        assert!(client.cas("a", b"41", unique, 0).await?);
        assert!(!client.cas("a", b"43", unique, 0).await?);
        assert_eq!(client.increment("a", 1).await?, 42);
        client.increment_noreply("a", 8).await?;
        assert_eq!(client.decrement("a", 20).await?, 30);
        assert_eq!(client.increment("none", 1).await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        // A meta command; what makes the item is younger than memcached 1.6.18, which stores nothing then.
        let error = client.append_or_vivify("list", b"one", 0).await.expect_err("there is none");
        assert_eq!(error.to_string(), "NS\r\n");
        client.set("list", b"one", 0).await?;
        client.append_or_vivify("list", b",two", 0).await?;
        let found = client.get_multi(&["a", "b", "list"]).await?;
        assert_eq!(found.len(), 2);
        assert_eq!((&found["a"][..], &found["list"][..]), (&b"30"[..], &b"one,two"[..]));
        let large = vec![0xa5; 900_000];
        client.set("large", &large, 100).await?;
        assert_eq!(client.get("large").await?, large);
        client.delete("a").await?;
        assert_eq!(client.get("a").await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        let mut other = connect();
        client.flush().await?;
        assert_eq!(other.get("list").await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        Ok::<(), std::io::Error>(())
    })
    .unwrap();
}
