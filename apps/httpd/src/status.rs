//! What can be answered, and what is said with it.

/// A status code that we answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Status {
    Ok = 200,
    NoContent = 204,
    PartialContent = 206,
    MovedPermanently = 301,
    NotModified = 304,
    BadRequest = 400,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    PreconditionFailed = 412,
    ContentTooLarge = 413,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    HeaderFieldsTooLarge = 431,
    NotImplemented = 501,
    VersionNotSupported = 505,
}

impl Status {
    /// The first line of the answer.
    pub(crate) fn line(self) -> &'static [u8] {
        match self {
            Self::Ok => b"HTTP/1.1 200 OK\r\n",
            Self::NoContent => b"HTTP/1.1 204 No Content\r\n",
            Self::PartialContent => b"HTTP/1.1 206 Partial Content\r\n",
            Self::MovedPermanently => b"HTTP/1.1 301 Moved Permanently\r\n",
            Self::NotModified => b"HTTP/1.1 304 Not Modified\r\n",
            Self::BadRequest => b"HTTP/1.1 400 Bad Request\r\n",
            Self::NotFound => b"HTTP/1.1 404 Not Found\r\n",
            Self::MethodNotAllowed => b"HTTP/1.1 405 Method Not Allowed\r\n",
            Self::RequestTimeout => b"HTTP/1.1 408 Request Timeout\r\n",
            Self::PreconditionFailed => b"HTTP/1.1 412 Precondition Failed\r\n",
            Self::ContentTooLarge => b"HTTP/1.1 413 Content Too Large\r\n",
            Self::UriTooLong => b"HTTP/1.1 414 URI Too Long\r\n",
            Self::RangeNotSatisfiable => b"HTTP/1.1 416 Range Not Satisfiable\r\n",
            Self::ExpectationFailed => b"HTTP/1.1 417 Expectation Failed\r\n",
            Self::HeaderFieldsTooLarge => b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::NotImplemented => b"HTTP/1.1 501 Not Implemented\r\n",
            Self::VersionNotSupported => b"HTTP/1.1 505 HTTP Version Not Supported\r\n",
        }
    }

    /// What a person who reads the answer is told.
    pub(crate) fn explanation(self) -> &'static [u8] {
        match self {
            Self::Ok | Self::NoContent | Self::PartialContent | Self::NotModified => b"",
            Self::MovedPermanently => b"This is a folder: its path ends with a slash.\n",
            Self::BadRequest => b"The request is malformed.\n",
            Self::NotFound => b"Nothing is here.\n",
            Self::MethodNotAllowed => b"Only GET, HEAD and OPTIONS are served.\n",
            Self::RequestTimeout => b"The request took too long to arrive.\n",
            Self::PreconditionFailed => b"A condition of the request does not hold.\n",
            Self::ContentTooLarge => b"The request has too much content.\n",
            Self::UriTooLong => b"The request's target is too long.\n",
            Self::RangeNotSatisfiable => b"The range lies beyond the end.\n",
            Self::ExpectationFailed => b"Only 100-continue can be expected.\n",
            Self::HeaderFieldsTooLarge => b"The request's fields are too many or too long.\n",
            Self::NotImplemented => b"This method or transfer coding is not known here.\n",
            Self::VersionNotSupported => b"Only HTTP/1.0 and HTTP/1.1 are spoken.\n",
        }
    }

    /// Whether somebody would pay for this answer.
    pub(crate) fn is_paid(self) -> bool {
        (self as u16) < 400
    }
}
