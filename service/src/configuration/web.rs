//! What a web server is told.

use super::cache::yes_or_no;
use super::{ConfigurationError, Lines, bytes, duration, shown};
use alloc::format;
use alloc::string::{String, ToString};

/// Which content is compressed by the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// None.
    No,
    /// What pays at the prices of the moment.
    Auto,
    /// All that becomes smaller, before anything is served.
    Start,
}

/// What is served, and with how much patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// The folder whose files are served.
    pub content: Option<String>,
    /// Fields that the standard only recommends are left out.
    pub lean: bool,
    /// The path to which something may be posted, to be sent back.
    pub mirror: Option<String>,
    /// The access log is told with the lines of the service's own.
    pub log: bool,
    /// What is compressed here.
    pub compress: Compress,
    /// Most content of a request.
    pub request_content_max: u64,
    /// Seconds for the head of a request.
    pub head_limit_s: u32,
    /// Seconds for the content of a request.
    pub content_limit_s: u32,
    /// Seconds for reading a piece of an answer.
    pub reading_limit_s: u32,
    /// Seconds between two requests; 0 for ever.
    pub idle_limit_s: u32,
}

impl Lines<'_> {
    pub(super) fn web(&self) -> Result<Web, ConfigurationError> {
        let seconds = |ns: u64| ns.div_ceil(1_000_000_000) as u32;
        let limit = duration(1_000_000_000, 86_400_000_000_000);
        Ok(Web {
            content: self.optional("web.content", |text| Ok(text.to_string()))?,
            lean: self.value("web.headers", "lean", |text| match text {
                "lean" => Ok(true),
                "full" => Ok(false),
                _ => Err(format!("'{}': lean or full is expected", shown(text))),
            })?,
            mirror: self.optional("web.mirror", |text| match text {
                _ if text.starts_with('/') && !text.contains(['?', '#', '%']) => Ok(text.to_string()),
                _ => Err(format!("'{}': a path is expected, such as /mirror", shown(text))),
            })?,
            log: self.value("web.log", "no", yes_or_no)?,
            compress: self.value("web.compress", "auto", |text| match text {
                "no" => Ok(Compress::No),
                "auto" => Ok(Compress::Auto),
                "start" => Ok(Compress::Start),
                _ => Err(format!("'{}': no, auto or start is expected", shown(text))),
            })?,
            request_content_max: self.value("web.request.max", "1 MiB", bytes(0, 1 << 30))? as u64,
            head_limit_s: seconds(self.value("web.limit.head", "10 s", &limit)?),
            content_limit_s: seconds(self.value("web.limit.content", "60 s", &limit)?),
            reading_limit_s: seconds(self.value("web.limit.reading", "60 s", &limit)?),
            idle_limit_s: seconds(self.value("web.limit.idle", "65 s", duration(0, 86_400_000_000_000))?),
        })
    }
}
