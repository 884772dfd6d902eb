//! Our TCP against Linux's with a link in between that does what real links do, and what no link would.

mod between;
mod clients;
mod corners;
mod impaired;
