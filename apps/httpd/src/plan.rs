//! What a request is answered with: decided when its head is there, done when its content has been read.

use crate::condition::{self, Known, Outcome};
use crate::head::{Head, Method};
use crate::range::{self, Part, Ranges};
use crate::site::{Site, Slot};
use crate::status::Status;
use crate::target::{self, Path};
use alloc::vec::Vec;

/// What lies in the folder that a path names.
const INDEX: &[u8] = b"index.html";

/// The substance of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A status with a line of explanation.
    Said(Status),
    /// All of a content.
    Whole(Slot),
    /// A part of it.
    Part(Slot, Part),
    /// Several.
    Parts(Slot, Vec<Part>),
    /// The client has it.
    NotModified(Slot),
    /// The range lies outside of it.
    Unsatisfiable(Slot),
    /// It is a folder, which has another path: this one with a slash.
    Folder,
    /// What may be asked for.
    Options,
    /// What was posted.
    Mirror,
}

impl What {
    /// The content that it needs.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match self {
            Self::Whole(slot)
            | Self::Part(slot, _)
            | Self::Parts(slot, _)
            | Self::NotModified(slot)
            | Self::Unsatisfiable(slot) => Some(*slot),
            Self::Said(_) | Self::Folder | Self::Options | Self::Mirror => None,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Said(status) => *status,
            Self::Whole(_) | Self::Mirror => Status::Ok,
            Self::Part(..) | Self::Parts(..) => Status::PartialContent,
            Self::NotModified(_) => Status::NotModified,
            Self::Unsatisfiable(_) => Status::RangeNotSatisfiable,
            Self::Folder => Status::MovedPermanently,
            Self::Options => Status::NoContent,
        }
    }
}

/// Whether what is posted there is sent back.
fn is_mirror(head: &Head<'_>, site: &Site, path: &mut Path) -> bool {
    let Some(mirror) = &site.mirror else { return false };
    target::origin_form(head.target).is_some_and(|target| path.take(target)) && path.bytes() == &**mirror
}

/// Decides. `path` keeps the path for a redirection.
pub(crate) fn decide(head: &Head<'_>, site: &Site, path: &mut Path, now_s: u64) -> What {
    match head.method {
        Method::Unknown => return What::Said(Status::NotImplemented),
        Method::Post if !head.expects_other && is_mirror(head, site, path) => return What::Mirror,
        Method::Other | Method::Post => return What::Said(Status::MethodNotAllowed),
        Method::Options if head.target == b"*" => return What::Options,
        _ => {}
    }
    if head.expects_other {
        return What::Said(Status::ExpectationFailed);
    }
    let Some(target) = target::origin_form(head.target) else { return What::Said(Status::BadRequest) };
    if !path.take(target) {
        return What::Said(Status::BadRequest);
    }
    if path.bytes().ends_with(b"/") && !path.add(INDEX) {
        return What::Said(Status::NotFound);
    }
    let Some(entry) = site.find(path.bytes()) else {
        let len = path.bytes().len();
        let folder = path.add(b"/") && path.add(INDEX) && site.find(path.bytes()).is_some();
        path.cut(len);
        return if folder { What::Folder } else { What::Said(Status::NotFound) };
    };
    if head.method == Method::Options {
        return What::Options;
    }
    // Who takes none of what there is gets it plain, which RFC 9110, 12.5.3 prefers to a refusal.
    let Some(slot) = entry.choose(&head.codings).or(entry.slots[0]) else {
        return What::Said(Status::NotFound);
    };
    if !head.conditional && head.range.is_none() {
        return What::Whole(slot);
    }
    let variant = site.variant(slot);
    let known = Known { etag: &variant.etag, modified_s: variant.modified_s, now_s };
    if head.conditional {
        match condition::evaluate(head, &known) {
            Outcome::Go => {}
            Outcome::NotModified => return What::NotModified(slot),
            Outcome::Failed => return What::Said(Status::PreconditionFailed),
        }
    }
    match head.range {
        Some(range) if head.method == Method::Get && condition::in_range(head.if_range, &known) => {
            match range::read(range, variant.len()) {
                Ranges::Whole => What::Whole(slot),
                Ranges::Unsatisfiable => What::Unsatisfiable(slot),
                Ranges::One(part) => What::Part(slot, part),
                Ranges::Several(parts) => What::Parts(slot, parts),
            }
        }
        _ => What::Whole(slot),
    }
}
