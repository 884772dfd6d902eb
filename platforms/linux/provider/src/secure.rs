//! TLS around a stream that does not wait.

use crate::trust::Trust;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// One side of TLS. What it says and hears goes over a stream that is somebody else's.
#[derive(Debug)]
pub struct Secure {
    tls: ClientConnection,
    name: String,
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing, for now.
    Nothing,
    /// Bytes.
    Bytes(usize),
    /// The other side has ended.
    End,
}

impl Secure {
    /// Speaks to somebody of this name, or with this address.
    pub fn new(trust: &Trust, name: &str) -> Result<Self, String> {
        let known =
            ServerName::try_from(name.to_string()).map_err(|_| format!("{name} is no name for TLS"))?;
        let tls = ClientConnection::new(Arc::clone(&trust.0), known).map_err(|error| error.to_string())?;
        Ok(Self { tls, name: name.into() })
    }

    /// Both sides know each other.
    pub fn is_open(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// Bytes wait for a stream that takes them.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Takes bytes that are to be sent.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tls.writer().write_all(bytes).map_err(|error| error.to_string())
    }

    /// Moves bytes both ways. What was said is heard only once both sides know each other. The error is a line for a
    /// person.
    pub fn turn(&mut self, stream: &mut TcpStream, bytes: &mut [u8]) -> Result<Heard, String> {
        self.write(stream)?;
        let mut ended = false;
        while self.tls.wants_read() && !ended {
            match self.tls.read_tls(stream) {
                Ok(0) => ended = true,
                Ok(_) => {
                    if let Err(error) = self.tls.process_new_packets() {
                        // The other side is told why, if it still listens.
                        let _ = self.tls.write_tls(stream);
                        return Err(self.why(&error));
                    }
                }
                Err(error) if not_now(&error) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        self.write(stream)?;
        if !self.is_open() {
            let why = || format!("{} ended before TLS was agreed on", self.name);
            return if ended { Err(why()) } else { Ok(Heard::Nothing) };
        }
        match self.tls.reader().read(bytes) {
            Ok(0) => Ok(Heard::End),
            Ok(len) => Ok(Heard::Bytes(len)),
            Err(error) if not_now(&error) && !ended => Ok(Heard::Nothing),
            // Whoever ends without saying so may have been cut short: how long an answer is, it says itself.
            Err(_) => Ok(Heard::End),
        }
    }

    fn write(&mut self, stream: &mut TcpStream) -> Result<(), String> {
        while self.tls.wants_write() {
            match self.tls.write_tls(stream) {
                Ok(_) => {}
                Err(error) if not_now(&error) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// What went wrong, and what to do, in one line.
    fn why(&self, error: &Error) -> String {
        let name = &self.name;
        let Error::InvalidCertificate(wrong) = error else {
            return match error {
                Error::InvalidMessage(_) => format!("{name} does not speak TLS there"),
                other => format!("TLS with {name}: {other}"),
            };
        };
        let why = match wrong {
            CertificateError::UnknownIssuer => {
                "nobody whom we believe has signed it; name its authority with --ca FILE"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has run out, or our clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it does not hold yet, or our clock is wrong"
            }
            CertificateError::Revoked => "it was revoked",
            other => return format!("the certificate of {name} is refused: {other}"),
        };
        format!("the certificate of {name} is refused: {why}")
    }
}

/// Whether a call that does not wait has nothing to do.
pub fn not_now(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
