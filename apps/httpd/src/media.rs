//! What a file is, by the end of its name.

/// Text comes in UTF-8: so says every standard for these.
const KNOWN: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("xml", "application/xml"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/vnd.microsoft.icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
];
const OTHER: &str = "application/octet-stream";

/// The media type of a path.
pub fn of(path: &[u8]) -> &'static str {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return OTHER };
    let ending = &name[dot + 1..];
    KNOWN
        .iter()
        .find(|(known, _)| ending.eq_ignore_ascii_case(known.as_bytes()))
        .map_or(OTHER, |(_, media)| media)
}

/// Whether such content becomes smaller when it is compressed.
pub fn compresses(media: &str) -> bool {
    media.starts_with("text/")
        || matches!(
            media,
            "application/xml"
                | "application/json"
                | "application/manifest+json"
                | "application/wasm"
                | "image/svg+xml"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_name() {
        for (path, media) in [
            ("/index.html", "text/html; charset=utf-8"),
            ("/a.b/C.JSON", "application/json"),
            ("/a.html/plain", OTHER),
            ("/x.tar.gz", OTHER),
            ("/.png", "image/png"),
            ("/", OTHER),
        ] {
            assert_eq!(of(path.as_bytes()), media, "{path}");
        }
        assert!(compresses(of(b"/a.svg")) && !compresses(of(b"/a.png")));
    }
}
