//! Which applications come again, and which one ends the machine: what the image's configuration says, seen from outside.

use super::Cases;
use super::guest::{ended, says};
use crate::image;
use nom_machine::machine::Nameless;
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};

/// The code of the application `again`, which has no orders.
const NO_ORDERS: u8 = 9;
/// The kernel refused the image.
const REFUSED: u8 = 100;

/// A case: its name, the names in the image, its configuration, the machine's code, how often the application `again`
/// starts, and what lines say.
type Life = (&'static str, &'static [&'static str], &'static str, u8, usize, &'static [&'static str]);

const LIVES: [Life; 6] = [
    (
        "comes again as often as allowed after it failed",
        &["again"],
        "kernel.restart.again = failed 2\n",
        NO_ORDERS,
        3,
        &["again starts again in 10 ms", "again starts again in 20 ms"],
    ),
    (
        "does not come again after code 0",
        &["again"],
        "kernel.restart.again = failed 2\n# ending = done\n",
        0,
        1,
        &[],
    ),
    (
        "comes again after code 0 when always",
        &["again"],
        "kernel.restart.again = always 1\n# ending = done\n",
        0,
        2,
        &[],
    ),
    (
        "ends the machine although another lives",
        &["peer", "again"],
        "kernel.application = peer, again\nkernel.channel.orders = peer, nobody, 4 KiB\nkernel.end = again\n",
        NO_ORDERS,
        1,
        &["application peer starts on core"],
    ),
    (
        "ends the machine only when it does not come again",
        &["peer", "again"],
        "kernel.application = peer, again\nkernel.channel.orders = peer, nobody, 4 KiB\nkernel.end = again
kernel.restart.again = failed 1\n",
        NO_ORDERS,
        2,
        &["application peer starts on core"],
    ),
    (
        "that is to end the machine must be there",
        &["again"],
        "kernel.end = nobody\n",
        REFUSED,
        0,
        &["the bundle has no application nobody"],
    ),
];

/// Runs them all.
pub fn lives(cases: &mut Cases) -> Outcome<()> {
    for (name, names, configuration, code, starts, words) in LIVES {
        let configuration = format!("image.trusted = yes\nkernel.heap = 1 MiB\n{configuration}");
        let image = Nameless::new(&image::build_several("trial", names, &configuration)?)?;
        let verdict = ended(&Plan::new(Kind::Microvm), &image, code).and_then(|lines| {
            words.iter().try_for_each(|words| says(&lines, words))?;
            let found = lines.iter().filter(|line| line.contains("application again starts on core")).count();
            if found != starts {
                return Err(Trouble::new(format!("it started {found} times, not {starts}: {lines:?}")));
            }
            match lines.iter().find(|line| line.contains("application peer ended")) {
                Some(line) => Err(Trouble::new(format!("the other one did not live on: {line}"))),
                None => Ok(()),
            }
        });
        cases.note(&format!("guest whose application {name}"), verdict);
    }
    Ok(())
}
