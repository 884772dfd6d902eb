//! Prints the table of goodputs that `tests/goodput.txt` keeps:
//! `cargo run -p nom-simnet --example goodput > lab/simnet/tests/goodput.txt`.

fn main() {
    print!("{}", nom_simnet::goodput::table());
}
