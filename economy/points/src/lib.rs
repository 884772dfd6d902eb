//! Working points: what each setting of the knobs was measured to give.
//!
//! A [`Setting`] is plain data that a home maps to the knobs of its stack; this crate knows no stack. A [`Point`] is
//! a setting with the figures that decide its profit, a [`Class`] gathers the points of one load (a frontier belongs
//! to one load), and [`Points`] is the whole file in a readable, versioned form. *Serve nothing* is always a point
//! and never stands in the file: it needs no measurement.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod class;
mod frontier;
mod noise;
mod observe;
mod point;
mod setting;
mod text;

pub use class::{Class, LoadKind, Points, Range};
pub use frontier::{Twins, frontier, frontier_paper, twins};
pub use noise::Noise;
pub use observe::Measured;
pub use point::{LATE_MAX, Late, Point};
pub use setting::{Batching, Setting, SettingError, Wait};
pub use text::{BYTES_MAX, CLASSES_MAX, POINTS_MAX, PointsError};
